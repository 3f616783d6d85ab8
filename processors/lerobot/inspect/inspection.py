"""The whole inspection, from the names of the files to the last picture."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ...errors import EpisodedError, InputError, from_os_error
from ...formats.lerobot_info import EPISODES, INFO, parse_fps
from ..findings import Finding, Problems, Severity
from ..reading import read_dataset, read_episode_stats
from ..v30.reading import EPISODES_FOLDER
from .metadata import check_metadata
from .rate import recorded_rate
from .reels import reels
from .report import Report, ordered
from .statistics import StatisticsCheck
from .tables import read_tables
from .tree import Tree, check_files, check_repairs
from .videos import compare, view_all
from .waiting import check_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Set
    from pathlib import Path

    from ..dataset import Dataset
    from .reels import Reel, Viewed


#: What is found where rows or pictures are at another rate than info.json has.
_RATE: Final = frozenset({"video_rate", "timestamps"})


def _unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


def inspect_dataset(
    root: Path,
    *,
    deep: bool = False,
    only: Set[int] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] = _unseen,
) -> Report:
    """Find everything that is wrong with the LeRobot dataset at `root`; changes nothing.

    Every table is read, every packet of every video, and the first and last picture of each episode decoded; `deep`:
    every picture. `only`: the episodes whose files are read, the rest of the dataset is checked by its metadata.
    `progress(done, total)` counts files. Never raises for bad data; what the system refuses (no permission) is raised
    as the `from_os_error` family.
    """
    found: list[Finding] = []
    try:
        dataset = read_dataset(root, found)
    except EpisodedError as error:
        return _unreadable(root, error, deep=deep)
    _check_listing(dataset, found)
    threads = threads or len(os.sched_getaffinity(0))
    read = [*found]
    try:
        pictures = _Inspection(dataset, found, only).run(deep=deep, threads=threads, progress=progress)
        if (recorded := _at_recorded_rate(dataset, found)) is not None:
            again = read
            seen = _Inspection(recorded, again, only).run(deep=deep, threads=threads, progress=progress)
            if not _RATE & {finding.code for finding in again}:
                found, pictures = [_wrong_fps(dataset, recorded), *again], seen
    except OSError as error:
        raise from_os_error(error) from error
    found = [_after_encoding(finding, found) for finding in found]
    return Report(
        root=root,
        version=dataset.version_name,
        episodes=len(dataset.episodes),
        frames=dataset.frames,
        cameras=len(dataset.cameras),
        pictures=pictures,
        deep=deep,
        findings=ordered(found),
    )


def _unreadable(root: Path, error: EpisodedError, *, deep: bool) -> Report:
    """The report on a dataset without a usable info.json."""
    if not isinstance(error, InputError):
        raise error
    message = error.message.replace(f"{root}/", "")
    return Report(root, None, 0, 0, 0, 0, deep, (Finding(error.code, Severity.ERROR, message),))


def _after_encoding(finding: Finding, found: list[Finding]) -> Finding:
    """A finding that goes away when the frames that wait are encoded is told so: no repair can do that."""
    waiting = [one for one in found if one.code == "frames_unencoded"]
    same = any(one.camera == finding.camera and finding.episode in (one.episode, None) for one in waiting)
    if (waiting and finding.code == "episodes_missing") or (same and finding.code.startswith("stats_")):
        return replace(finding, instead=waiting[0].kind.remedy)
    return finding


def _check_listing(dataset: Dataset, found: list[Finding]) -> None:
    """A list that names no episode says nothing of the tables that are there: as if it were gone."""
    place = EPISODES_FOLDER if dataset.version >= (3, 0) else EPISODES
    if dataset.episodes or any(finding.code in ("episodes_missing", "lfs_pointer") for finding in found):
        return
    if any((dataset.root / "data").rglob("*.parquet")):
        message = "the list of episodes names none, and there are tables of episodes"
        found.append(Finding("episodes_missing", Severity.ERROR, message, place))


def _at_recorded_rate(dataset: Dataset, found: list[Finding]) -> Dataset | None:
    """The dataset at the rate of its time stamps and videos, where that is another than info.json has."""
    videos = [finding.file for finding in found if finding.code == "video_rate" and finding.file is not None]
    tables = [finding.file for finding in found if finding.code == "timestamps" and finding.file is not None]
    if not videos or not tables:
        return None
    root = dataset.root
    try:
        rate = recorded_rate(root, [root / tables[0]], [root / videos[0]])
        return replace(read_dataset(root, []), fps=parse_fps(rate, root / INFO))
    except EpisodedError:
        return None


def _wrong_fps(dataset: Dataset, recorded: Dataset) -> Finding:
    message = f"`fps` is {float(dataset.fps):.9g}, the time stamps and videos have {float(recorded.fps):.9g}"
    return Finding("fps_wrong", Severity.ERROR, message, INFO)


class _Inspection:
    """One dataset, and what has been found about it so far."""

    def __init__(self, dataset: Dataset, found: list[Finding], only: Set[int] | None) -> None:
        self.dataset = dataset
        self.found = found
        self.only = only
        self.report = Problems(dataset.root, found)

    def run(self, *, deep: bool, threads: int, progress: Callable[[int, int], None]) -> int:
        """Check everything; the number of pictures that were decoded."""
        listed, tree = self._is_listed(), Tree.of(self.dataset.root)
        check_metadata(self.dataset, self.report, listed=listed)
        check_repairs(self.dataset.root, self.report)
        pointers = check_files(self.dataset, tree, self.report, listed=listed)
        waiting = check_frames(self.dataset, self.report, listed=listed)
        self.found[:] = [one for one in self.found if not _is_explained(one, waiting)]
        present = [reel for reel in reels(self.dataset, self.only) if self._is_there(reel, tree, pointers, waiting)]
        total = len(self.dataset.episodes) + len(present)
        statistics = StatisticsCheck(self.dataset, self.report, self.found)
        tables = self._missing_tables(tree) | pointers
        for done, rows in enumerate(read_tables(self.dataset, self.report, unreadable=tables, only=self.only), 1):
            statistics.episode(rows)
            progress(done, total)
        if self.only is None:
            statistics.total()
        views: list[Viewed] = []
        for view in view_all(self.dataset, present, deep=deep, threads=threads):
            views.append(view)
            self.found += view.findings
            progress(total - len(present) + len(views), total)
        if deep:
            self._compare_pictures(views, statistics)
        compare(self.dataset, views, self.report)
        return sum(view.pictures for view in views)

    def _is_listed(self) -> bool:
        """Whether nothing has been said of the list of the episodes yet."""
        places = [finding.file for finding in self.found if finding.file is not None]
        return not any(place == EPISODES or place.is_relative_to(EPISODES_FOLDER) for place in places)

    def _is_there(self, reel: Reel, tree: Tree, pointers: Set[PurePosixPath], waiting: Set[tuple[str, int]]) -> bool:
        """Whether a video can be looked at; reported when it is not there."""
        if reel.file in pointers:
            return False
        if reel.file in tree.files:
            return True
        indices = [entry.index for entry, _ in reel.parts]
        if any((reel.camera.key, index) in waiting for index in indices):
            return False  # its frames are there: it will be made of them
        misplaced = PurePosixPath("video", *reel.file.parts[1:])
        code, message = "video_missing", "is not there"
        if misplaced in tree.files:
            code, message = "video_misplaced", f"is not there, but at {misplaced}"
        self.report.add(
            code, message, reel.file, episode=indices[0] if len(indices) == 1 else None, camera=reel.camera.key
        )
        return False

    def _missing_tables(self, tree: Tree) -> set[PurePosixPath]:
        missing: dict[PurePosixPath, list[int]] = {}
        for entry in self.dataset.episodes:
            if entry.table not in tree.files and (self.only is None or entry.index in self.only):
                missing.setdefault(entry.table, []).append(entry.index)
        for name, indices in missing.items():
            episode = indices[0] if len(indices) == 1 else None
            self.report.add("table_missing", "is not there", name, episode=episode)
        return set(missing)

    def _compare_pictures(self, views: list[Viewed], statistics: StatisticsCheck) -> None:
        seen: dict[int, dict[str, Any]] = {}
        for view in views:
            for index, stats in view.stats.items():
                seen.setdefault(index, {})[view.reel.camera.key] = stats
        for index, stats in read_episode_stats(self.dataset, []):
            for camera, pictures in seen.get(index, {}).items():
                statistics.pictures(index, camera, pictures, stats)


def _is_explained(finding: Finding, waiting: Set[tuple[str, int]]) -> bool:
    """Whether a video has no place in the metadata only because its frames still wait."""
    return finding.code == "video_columns_missing" and (finding.camera, finding.episode) in waiting
