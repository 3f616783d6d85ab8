"""The result of a conversion takes the place of its source, which is kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import fsio
from ..crashpoints import crashpoint
from ..errors import UsageError
from .place import beside, is_conversion
from .records import Records

if TYPE_CHECKING:
    from pathlib import Path


def take_place(root: Path, result: Path, before: str) -> Path:
    """Move the source at `root` aside, to NAME_v21, and the finished `result` to its name; returns where it is kept.

    Killed between the two moves, `finish_swap` does the second. Raises UsageError (`aside_taken`).
    """
    aside = beside(root, before)
    if aside.exists():
        raise UsageError("aside_taken", f"{aside} is there already", "move it away; the source would be kept there")
    root.rename(aside)
    crashpoint("swap:aside")
    result.rename(root)
    fsio.sync_dir(root.parent)
    return aside


def finish_swap(root: Path, version: str) -> bool:
    """Do the second move where a swap was interrupted after the first; True when there was one to finish."""
    result = beside(root, version)
    if root.exists() or not is_conversion(result):
        return False
    source = Records(result).source() or {}
    if source.get("source") != str(root) or not beside(root, str(source.get("from"))).is_dir():
        return False
    result.rename(root)
    fsio.sync_dir(root.parent)
    return True
