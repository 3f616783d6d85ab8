"""A LeRobot v3.0 dataset as a recorder left it: the episodes of which there are rows, listed by it or not.

What `meta/episodes` says is believed as far as it goes. It may not go far: its rows are kept back in batches of ten,
and are lost when the recorder is killed. Then the rows in `data/` say which episodes there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from ..lerobot.dataset import Dataset, VideoSpan
from ..lerobot.reading import read_dataset
from ..lerobot.v30.reading import episode_files
from .lerobot_info import CameraFeature, invalid, picture_size
from .lerobot_v3_finished import finished_videos
from .lerobot_v3_tables import Rows, RowsFile, count_rows, newest, read_rows, table_files
from .whole import parquet_ends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path, PurePosixPath

    from ..lerobot.findings import Finding

#: What is no reason to leave a recording alone: it is what is mended, or what LeRobot does not mind.
_BEARABLE: Final = frozenset(
    {"episodes_missing", "table_missing", "table_unreadable", "video_columns_missing", "tasks_missing", "info_key"}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One episode. Its rows are `first_row` to before `first_row + length` of `table`, the first has index `first`.

    `videos`: camera key -> where its frames lie, by `meta/episodes`. `listed`: whether it has a row there. `tasks`:
    None where a text is not known.
    """

    index: int
    length: int
    tasks: tuple[str | None, ...]
    table: PurePosixPath
    first_row: int
    first: int
    videos: Mapping[str, VideoSpan]
    listed: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """What there is of a dataset: `entries` by episode index, in order.

    `unclosed`: the files of `data/` and `meta/episodes` that end without a footer. `notes`: what became of them.
    """

    head: Dataset
    cameras: tuple[CameraFeature, ...]
    entries: Mapping[int, Entry]
    unclosed: tuple[PurePosixPath, ...]
    notes: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The folder of the dataset."""
        return self.head.root

    @property
    def fps(self) -> Fraction:
        """The nominal rate in frames per second."""
        return self.head.fps

    def table(self, index: int) -> PurePosixPath:
        """The file of `data/` with the rows of an episode."""
        return self.entries[index].table

    def own_video(self, key: str, index: int) -> PurePosixPath:
        """The video of a camera of an episode that is encoded here: a file of its own, with the episode's number."""
        size = self.head.chunks_size
        return self.head.video_path(key, index % size, index // size)

    def video(self, key: str, index: int) -> PurePosixPath:
        """The file with the frames of a camera of an episode, there or to be."""
        span = self.entries[index].videos.get(key)
        return span.file if span else self.own_video(key, index)

    def frame_folder(self, key: str, index: int) -> PurePosixPath | None:  # noqa: ARG002 - as in `DatasetInfo`
        """v3.0 has no template for the folders of frames."""
        return None


def read_recording(root: Path) -> Recording:
    """Read what there is; the rows of a file that was never closed are looked for in it.

    Raises InputError for a dataset of which nothing can be made (`meta_invalid`, `lfs_pointer`), RetryableError
    (`meta_unsettled`) while info.json is being written.
    """
    problems: list[Finding] = []
    head = read_dataset(root, problems)
    _refuse(root, problems)
    entries = {
        episode.index: Entry(
            index=episode.index,
            length=episode.length,
            tasks=episode.tasks,
            table=episode.table,
            first_row=episode.first_row,
            first=episode.dataset_range[0] if episode.dataset_range else -1,
            videos=episode.videos,
            listed=True,
        )
        for episode in head.episodes
    }
    unclosed = [name for name in episode_files(root) if not parquet_ends(root / name)]
    notes = [f"{name} was never closed: what it says is derived anew" for name in unclosed]
    for file in _unaccounted(head):
        for rows in file.rows:
            _add(entries, rows, head)
        if file.damage:
            notes.append(file.damage)
        if file.rescued or not file.rows:
            unclosed.append(file.name)
    for index, videos in finished_videos(root):
        if index in entries:
            entries[index] = _with_videos(entries[index], videos, head)
    cameras = tuple(
        CameraFeature(key, feature.dtype, picture_size(feature.raw), feature.raw["info"] if feature.is_depth else None)
        for key, feature in head.features.items()
        if feature.is_picture
    )
    return Recording(head, cameras, dict(sorted(entries.items())), tuple(unclosed), tuple(notes))


def _with_videos(entry: Entry, videos: Mapping[str, tuple[int, int, int]], head: Dataset) -> Entry:
    """The same with the places of the videos that were made here, where `meta/episodes` does not say them (yet)."""
    ours = {
        key: VideoSpan(
            head.video_path(key, file, chunk), float(first / head.fps), float((first + entry.length) / head.fps)
        )
        for key, (chunk, file, first) in videos.items()
    }
    return replace(entry, videos={**ours, **entry.videos})


def _refuse(root: Path, problems: list[Finding]) -> None:
    for problem in problems:
        if problem.code not in _BEARABLE:
            if problem.code == "lfs_pointer":
                raise InputError(problem.code, problem.message, "run `git lfs pull`, then retry")
            raise invalid(root / (problem.file or "meta"), problem.message)


def _unaccounted(head: Dataset) -> list[RowsFile]:
    """The files of `data/` that hold other rows than `meta/episodes` says."""
    listed: Counter[PurePosixPath] = Counter()
    for episode in head.episodes:
        listed[episode.table] += episode.length
    return [
        read_rows(head.root, name, head.info["features"])
        for name in table_files(head.root)
        if count_rows(newest(head.root, name, head.info["features"])) != listed[name]
    ]


def _add(entries: dict[int, Entry], rows: Rows, head: Dataset) -> None:
    known = entries.get(rows.index)
    if known is None:
        texts = tuple(head.tasks.get(task) for task in rows.tasks)
        videos: dict[str, Any] = {}
        entries[rows.index] = Entry(
            rows.index, rows.length, texts, rows.table, rows.first_row, rows.first, videos, listed=False
        )
    elif (known.table, known.length) != (rows.table, rows.length):
        what = f"episode {rows.index} has {rows.length} rows in {rows.table}, and {known.length} in {known.table}"
        raise invalid(head.root / rows.table, what)
