"""Who is writing a file: asked of the kernel, for what names and sizes cannot tell."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_WRITING: Final = os.O_WRONLY | os.O_RDWR
_RECENT_S: Final = 2.0
_MOST: Final = 1000
#: (device, inode) -> when it was asked about, by the monotonic clock, and the answer.
_asked: dict[tuple[int, int], tuple[float, int | None]] = {}


def writer_of(path: Path, *, recently: bool = False) -> int | None:
    """The pid of a process on this machine that has the file open for writing; None when none is seen.

    Processes of other users are seen by root only, those of other machines by nobody: it can prove that a file is
    being written, never that it is not. `recently`: an answer of the last seconds will do, where the same file is asked
    about for each of a hundred episodes.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    same, now = (status.st_dev, status.st_ino), time.monotonic()
    asked_at, pid = _asked.get(same, (-math.inf, None))
    if not recently or now - asked_at > _RECENT_S or (pid is not None and not _writes(str(pid), same)):
        pid = _find_writer(same)
        if len(_asked) > _MOST:
            _asked.clear()
        _asked[same] = (now, pid)
    return pid


def _find_writer(same: tuple[int, int]) -> int | None:
    own = str(os.getpid())
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names only
        if pid != own and _writes(pid, same):
            return int(pid)
    return None


def _writes(pid: str, same: tuple[int, int]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)  # noqa: PTH208 - names only
    except OSError:
        return False  # it ended, or is not ours to look into
    return any(_is_open_for_writing(pid, number, same) for number in numbers)


def _is_open_for_writing(pid: str, number: str, same: tuple[int, int]) -> bool:
    try:
        status = os.stat(f"/proc/{pid}/fd/{number}")  # noqa: PTH116 - follows the link to the open file itself
        return (status.st_dev, status.st_ino) == same and bool(_flags(pid, number) & _WRITING)
    except OSError:
        return False  # closed since


def _flags(pid: str, number: str) -> int:
    with open(f"/proc/{pid}/fdinfo/{number}") as file:  # noqa: PTH123 - beside the os calls
        return next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
