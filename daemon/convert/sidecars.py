"""What lies in a dataset beside the files of the format: depth, calibration, sound, the dataset card. Copied along."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from episoded.processors.formats import is_ignored

from .. import fsio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .records import Records

#: The format's own folders; what is in them is converted. `images/` holds frames that are in the videos.
_CONVERTED: Final = ("data", "videos", "images")
_META: Final = ("info.json", "stats.json", "tasks.jsonl", "episodes.jsonl", "episodes_stats.jsonl", "tasks.parquet")


def carry_along(source: Path, records: Records, tick: Callable[[], None]) -> int:
    """Copy what is not there yet, or differs in size or time; returns how many files were copied."""
    copied = 0
    for name in sidecars(source):
        tick()
        target, path = records.output / name, source / name
        status = path.stat()
        if target.is_file() and _same(target, status.st_size, status.st_mtime_ns):
            continue
        scratch = records.folder / "making" / "sidecar"
        shutil.copy2(path, scratch)
        fsio.make_dirs(target.parent, below=records.output)
        fsio.replace_file(scratch, target)
        copied += 1
    return copied


def sidecars(source: Path) -> Iterator[PurePosixPath]:
    """Their paths, in order. Symlinks are not followed, nor copied."""
    for path in sorted(source.iterdir()):
        if path.name in _CONVERTED or is_ignored(path.name) or path.is_symlink():
            continue
        if path.name == "meta":
            yield from (name for name in _files(source, path) if not _of_the_format(name))
        elif path.is_dir():
            yield from _files(source, path)
        elif path.is_file():
            yield PurePosixPath(path.name)


def _files(source: Path, folder: Path) -> Iterator[PurePosixPath]:
    for path in sorted(folder.rglob("*")):
        name = PurePosixPath(path.relative_to(source))
        if path.is_file() and not path.is_symlink() and not any(is_ignored(part) for part in name.parts):
            yield name


def _of_the_format(name: PurePosixPath) -> bool:
    return (len(name.parts) == 2 and name.name in _META) or name.parts[1] == "episodes"


def _same(path: Path, size: int, mtime_ns: int) -> bool:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (size, mtime_ns)
