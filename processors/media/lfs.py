"""Git LFS pointers: what lies in place of a large file after a clone without `git lfs pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

POINTER = b"version https://git-lfs"


def refuse_pointer(start: bytes, path: Path) -> None:
    """Raise `InputError` (`lfs_pointer`) when `start`, the first bytes of `path`, are those of a pointer."""
    if start.startswith(POINTER):
        raise InputError(
            "lfs_pointer",
            f"{path} is a Git LFS pointer, not the file itself",
            "run `git lfs pull` in the dataset, then retry",
        )
