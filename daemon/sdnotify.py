"""sd_notify(3): tell systemd how we are. Twenty lines instead of a dormant dependency."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(**fields: str | int) -> None:
    """Send fields such as READY=1 or STATUS="..."; does nothing when systemd did not start us, or does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # abstract socket
        address = "\0" + address[1:]
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel, suppress(OSError):
        channel.connect(address)
        channel.sendall(message.encode())


def notify_reloading() -> None:
    """Say that a reload began; READY=1 must follow."""
    notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_interval_s() -> float | None:
    """How often WATCHDOG=1 must be sent at least (half of WatchdogSec), or None."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    return int(microseconds) / 2e6 if microseconds else None
