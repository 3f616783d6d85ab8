"""Locks on what several processes change: the files that episodes share, a place that only one may write to."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` (waits for it). The kernel frees it when the process dies.

    Service and collectors share it: who comes first must not lock the others of the group out for good.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def first_on_this_machine(name: str) -> socket.socket | None:
    """Keep `name` for this process until the answer is closed, whatever users and state directories the others have.

    An address in the kernel's own namespace for sockets: no folder that all may write to is needed, a sandbox that
    makes the disk read-only does not matter, and it is free when its owner dies. Containers with a network of their own
    have others. Raises BlockingIOError when somebody else has it; None where there are no such addresses.
    """
    address = "\0episoded-" + hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    try:
        mine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        mine.bind(address)
    except OSError as error:
        mine.close()
        if error.errno == errno.EADDRINUSE:
            raise BlockingIOError(errno.EAGAIN, "in use", name) from None
        return None
    return mine
