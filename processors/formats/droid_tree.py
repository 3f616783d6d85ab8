"""The folders of a raw DROID tree: where its episodes lie, by name only.

    [1.0.1/]LAB/{success,failure}/2023-08-12/Sat_Aug_12_16:26:07_2023/
      metadata_LAB+5d05c5aa+2023-08-12-16h-26m-07s.json      the episode's name; written last
      trajectory.h5
      recordings/{MP4,SVO}/

Any part of it may have been dropped: a lab, a day, one episode. The folder of an episode is named after a clock, with
`:` or `_`, one or two underscores, so its name is never its identity: that is the uuid in the metadata file's name.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .names import is_ignored

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE: Final = "trajectory.h5"
RECORDINGS: Final = "recordings"
#: What the metadata file is called, for people.
METADATA: Final = "metadata_LAB+ID+DATE.json"
#: LAB+user id+date-time. The `+` also keeps it apart from every other name in a control directory.
_METADATA: Final = re.compile(r"metadata_([^+/]+\+[^+/]+\+[^+/]+)\.json")
_OUTCOMES: Final = ("success", "failure")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_VERSION: Final = re.compile(r"\d+(\.\d+)+")
#: 1.0.1/LAB/success/DATE/EPISODE.
_DEPTH: Final = 5
#: So many folders are looked at for a lab among them; there are 13 labs.
_LABS: Final = 64
#: A folder that changed less than this ago may change again without a new mtime: the kernel's clock has steps.
_SETTLED_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EpisodeFolder:
    """A folder with a trajectory or metadata in it. `uuid`: "" while it has no metadata file.

    Plain text, not a `Path`: there are 76,000 in the whole data set, and every scan meets all of them.
    """

    path: str
    uuid: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """What one folder holds, as long as its inode and mtime are these."""

    signature: tuple[int, int]
    folders: tuple[str, ...]
    uuids: tuple[str, ...]
    has_state: bool


class Tree:
    """Walks trees; remembers what each folder held, so that walking again costs one stat per folder."""

    def __init__(self) -> None:
        self._known: dict[str, _Folder] = {}

    def is_one(self, root: Path) -> bool:
        """Whether `root` is (a part of) a DROID tree; reads the names of two levels at most."""
        try:
            here = self._read(str(root))
            if here.uuids or self._has_days(root, here):
                return True
            return any(self._is_lab(root / name) for name in here.folders[:_LABS]) or self._is_day(root, here)
        except OSError:
            return False

    def episodes(self, root: Path) -> Iterator[EpisodeFolder]:
        """Every episode folder below `root`, in the order of their paths. Raises OSError for an unreadable `root`."""
        top, seen = str(root), set[str]()
        self._read(top)
        waiting = [(top, 0)]
        while waiting:
            path, depth = waiting.pop()
            try:
                folder = self._read(path)
            except OSError:
                continue  # it went away, or is not ours to read: the rest of the tree is none the worse for it
            seen.add(path)
            if folder.uuids or folder.has_state:
                yield EpisodeFolder(path, folder.uuids[0] if folder.uuids else "")
            elif depth < _DEPTH:
                waiting += [(f"{path}/{name}", depth + 1) for name in reversed(folder.folders)]
        inside = f"{top}/"
        for gone in [path for path in self._known.keys() - seen if path.startswith(inside)]:
            del self._known[gone]

    def places(self, root: Path) -> Iterator[Path]:
        """The folders in which a new episode would show."""
        for path, folder in list(self._known.items()):
            if Path(path).is_relative_to(root) and folder.folders and not (folder.uuids or folder.has_state):
                yield Path(path)

    def _read(self, path: str) -> _Folder:
        status = os.stat(path)  # noqa: PTH116 - asked for every episode in every scan
        signature = status.st_ino, status.st_mtime_ns
        known = self._known.get(path)
        if known is None or known.signature != signature:
            known = _read(path, signature)
            if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
                self._known[path] = known
            else:
                self._known.pop(path, None)
        return known

    def _has_days(self, root: Path, here: _Folder) -> bool:
        """Whether it is a lab: days below `success` or `failure`; or one of those two itself."""
        if root.name in _OUTCOMES:
            return any(_DATE.fullmatch(name) for name in here.folders)
        return any(
            _DATE.fullmatch(name)
            for outcome in _OUTCOMES
            if outcome in here.folders
            for name in self._read(str(root / outcome)).folders
        )

    def _is_lab(self, folder: Path) -> bool:
        """Whether `folder` is a lab, or a version of the data set with labs in it."""
        if _VERSION.fullmatch(folder.name):
            return any(self._is_lab(folder / name) for name in self._read(str(folder)).folders)
        return any((folder / outcome).is_dir() for outcome in _OUTCOMES) and self._has_days(
            folder, self._read(str(folder))
        )

    def _is_day(self, root: Path, here: _Folder) -> bool:
        return bool(_DATE.fullmatch(root.name)) and any(
            self._read(str(root / name)).uuids for name in here.folders[:_LABS]
        )


def _read(path: str, signature: tuple[int, int]) -> _Folder:
    folders, uuids, has_state = [], [], False
    with os.scandir(path) as entries:
        for entry in entries:
            if is_ignored(entry.name):
                continue
            if match := _METADATA.fullmatch(entry.name):
                uuids.append(match[1])
            elif entry.name == STATE:
                has_state = True
            elif entry.name != RECORDINGS and entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
    return _Folder(signature, tuple(sorted(folders)), tuple(sorted(uuids)), has_state)
