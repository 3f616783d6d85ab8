"""Putting files in the place of others, step by step, so that a repair can be gone on with after any crash.

Beside `fsio` the only place that renames. Every step may be done twice: it looks whether it was done.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from . import fsio
from .crashpoints import crashpoint
from .errors import EpisodedError

if TYPE_CHECKING:
    from pathlib import Path


def keep(path: Path, kept: Path) -> None:
    """Give the file at `path` the second name `kept`, durably; its first stays. A copy where links are refused."""
    if kept.exists() or not path.exists():
        return
    try:
        os.link(path, kept)
    except OSError:  # another user's file, where hard links are protected
        part = kept.with_name(kept.name + ".part")
        shutil.copy2(path, part)
        fsio.sync_file(part)
        part.rename(kept)
    fsio.sync_dir(kept.parent)
    crashpoint("relocate:kept")


def take(path: Path, place: Path) -> None:
    """Move a file or folder away to `place`, durably; its name is free then.

    Raises EpisodedError (`repair_stuck`) where it is neither at `path` nor at `place`.
    """
    if os.path.lexists(place):
        return
    if not os.path.lexists(path):
        raise EpisodedError(
            "repair_stuck",
            f"{path} went away in the middle of a repair",
            f"put it back, then run the repair again; everything that was replaced lies in {place.parent}",
        )
    path.rename(place)
    crashpoint("relocate:taken")
    fsio.sync_dir(path.parent)
    fsio.sync_dir(place.parent)


def put(made: Path, target: Path) -> None:
    """Move `made` to `target`, over what is there, durably. With `made` gone it has been done."""
    if not os.path.lexists(made):
        return
    if made.is_file():
        with suppress(FileNotFoundError):
            made.chmod(fsio.mode_for(target.stat()))
    made.rename(target)
    crashpoint("relocate:put")
    fsio.sync_dir(target.parent)
    fsio.sync_dir(made.parent)
