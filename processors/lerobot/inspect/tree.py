"""The files of a dataset, all of them, walked once: what belongs there, and what does not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ...formats.names import is_ignored
from ...formats.whole import is_pointer
from ..findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dataset import Dataset
    from ..findings import Problems

#: Folders of others that LeRobot never looks into, and our own.
_SKIPPED: Final = frozenset({".git", ".cache", ".episoded", ".svn", ".venv"})


@dataclass(slots=True)
class Tree:
    """The names of the files below a dataset, without `images/`, by folder; sizes are asked for when needed."""

    root: Path
    files: set[PurePosixPath] = field(default_factory=set)
    links: set[PurePosixPath] = field(default_factory=set)

    @classmethod
    def of(cls, root: Path) -> Tree:
        """Walk the folder."""
        tree = cls(root)
        for name, is_link in _walk(root, PurePosixPath()):
            tree.files.add(name)
            if is_link:
                tree.links.add(name)
        return tree


def check_files(dataset: Dataset, tree: Tree, report: Problems, *, listed: bool) -> set[PurePosixPath]:
    """Report what does not belong where it lies; returns the files that are Git LFS pointers.

    `listed`: the list of the episodes could be read, so that it says which tables and videos belong here.
    """
    wanted = {episode.table for episode in dataset.episodes}
    wanted |= {span.file for episode in dataset.episodes for span in episode.videos.values()}
    pointers = set()
    for name in sorted(tree.files):
        if name.suffix in (".mp4", ".parquet", ".jsonl", ".json") and is_pointer(tree.root / name):
            pointers.add(name)
            report.add("lfs_pointer", "a Git LFS pointer, not the file itself", name)
        elif name not in wanted and (listed or is_ignored(name.name)):
            _check_unwanted(dataset, name, report)
        if name in tree.links:
            _check_link(tree.root, name, report)
    return pointers


def check_repairs(root: Path, report: Problems) -> None:
    """Report repairs that died in the middle: a journal that was not carried out to its end."""
    for journal in sorted((root / ".episoded/repair").glob("*/journal")):
        if not (journal.parent / "done").exists():
            name = PurePosixPath(journal.parent.relative_to(root))
            report.add("repair_unfinished", "this repair was not finished", name)


def _check_unwanted(dataset: Dataset, name: PurePosixPath, report: Problems) -> None:
    v3, top, last = dataset.version >= (3, 0), name.parts[0], name.name
    if is_ignored(last):
        # What is hidden was nobody's data before we looked (.gitattributes); a copy that goes on has a double suffix.
        if not last.startswith(".") or ".mp4." in last or ".parquet." in last:
            report.add("unfinished_copy", "a copy that goes on, or was broken off", name)
    elif top == "data" and len(name.parts) > 1:
        if name.suffix == ".parquet":
            # LeRobot 0.4 reads tables in the order of their names, and as many rows as info.json says.
            last_one = v3 and name > max((episode.table for episode in dataset.episodes), default=name)
            mild = Severity.WARNING if last_one else None
            report.add("table_stray", "a table of no episode", name, severity=mild)
        elif not v3:
            report.add("data_stray", "no table of an episode", name)
    elif name.suffix == ".mp4":
        report.add("video_stray", "a video of no episode", name)
    elif name.suffix == ".parquet" and not (v3 and top == "meta"):
        report.add("parquet_stray", "a table of no episode", name)


def _check_link(root: Path, name: PurePosixPath, report: Problems) -> None:
    real = os.path.realpath(root / name)
    if os.path.commonpath((real, os.path.realpath(root))) != os.path.realpath(root):
        report.add("symlink_outside", f"a symlink that leads out of the dataset, to {real}", name)


def _walk(folder: Path, name: PurePosixPath) -> Iterator[tuple[PurePosixPath, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED and not (name == PurePosixPath() and entry.name == "images"):
                    yield from _walk(Path(entry.path), name / entry.name)
            elif entry.is_file() or entry.is_symlink():
                yield name / entry.name, entry.is_symlink()
