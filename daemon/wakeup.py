"""One thing to wait for: the main loop sleeps on it, everything else rings it."""

from __future__ import annotations

import os
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Wakeup:
    """An eventfd that watcher threads and signal handlers ring and the main loop waits for."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        """Wake the loop; safe in a signal handler and from any thread."""
        os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float, others: Iterable[Any] = ()) -> bool:
        """Sleep until rung, until one of `others` (connections) is readable, or for `timeout_s`; True when rung."""
        ready = wait([self._fd, *others], max(0.0, timeout_s))
        if self._fd not in ready:
            return False
        os.eventfd_read(self._fd)
        return True

    def close(self) -> None:
        """Release the descriptor; nobody may ring any more."""
        os.close(self._fd)
