"""What tells a file or folder from what it was, so that nothing is read again that has not changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Inode, size, mtime and ctime in ns. None: it is not there.
Signature = tuple[int, int, int, int] | None


def signature_of(path: str | Path) -> Signature:
    """The signature of what lies at `path` now. Raises OSError for a path that cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 - asked for every dataset in every scan
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def signatures_of(paths: Iterable[str]) -> dict[str, Signature]:
    """The signature of each path."""
    return {path: signature_of(path) for path in paths}
