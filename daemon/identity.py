"""Who we are, in a way that survives pid recycling and reboots."""

from __future__ import annotations

import functools
import hashlib
import socket
from importlib.metadata import version
from pathlib import Path


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot; equal in every container of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@functools.cache
def host() -> str:
    """The host name, for people."""
    return socket.gethostname()


@functools.cache
def machine_id() -> str:
    """Stable over reboots; falls back to the host name where systemd's file is missing."""
    try:
        return Path("/etc/machine-id").read_text().strip() or host()
    except OSError:
        return host()


def process_started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None when there is none: (pid, start) is unique per boot.

    One that is dead but not yet buried by its parent does nothing any more: there is none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces and parentheses; fields 3 (state) and 22 (starttime) come after the last ')'.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@functools.cache
def pid_scope() -> str:
    """Names the boot and pid namespace in which our pids mean something.

    Containers of one machine share its boot id but not their pids: another container's living process looks dead.
    """
    return hashlib.sha256(f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:8]


@functools.cache
def product_version() -> str:
    """The installed version of episoded."""
    return version("episoded")
