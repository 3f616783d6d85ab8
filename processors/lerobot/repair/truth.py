"""The episodes as the files hold them: how many rows, in what order, under which number they should be."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ...errors import EpisodedError
from ...formats.lerobot_table import opened
from ..dataset import EpisodeEntry, VideoSpan
from ..inspect.film import read as read_film

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..dataset import Dataset


@dataclass(frozen=True, slots=True)
class Numbered:
    """One episode: its entry, with the length that the files have, its new number, and the index of its first row."""

    entry: EpisodeEntry
    index: int
    start: int

    @property
    def is_moved(self) -> bool:
        """Whether it gets another number."""
        return self.index != self.entry.index


def number(entries: Sequence[EpisodeEntry], *, close_gaps: bool) -> list[Numbered]:
    """The episodes in the order of their indices; without gaps between them if wanted."""
    numbered, start = [], 0
    for position, entry in enumerate(sorted(entries, key=lambda entry: entry.index)):
        numbered.append(Numbered(entry, position if close_gaps else entry.index, start))
        start += entry.length
    return numbered


def episodes_on_disk(dataset: Dataset) -> tuple[EpisodeEntry, ...]:
    """The episodes of a v2.x dataset without a list of them: one for each table, with its rows for a length."""
    return tuple(_found(dataset))


def rows_of(dataset: Dataset, entry: EpisodeEntry) -> int | None:
    """The rows of an episode's own table, where every one of its videos has as many pictures; else None."""
    try:
        with opened(dataset.root / entry.table) as parquet:
            rows = int(parquet.metadata.num_rows)
        counts = {len(read_film(dataset.root / span.file).times) for span in entry.videos.values()}
    except EpisodedError:
        return None
    return rows if counts <= {rows} else None


def with_length(dataset: Dataset, entry: EpisodeEntry, length: int) -> EpisodeEntry:
    """The entry of a v2.x episode with another length."""
    end = float(length / dataset.fps)
    videos = {key: VideoSpan(span.file, span.start_s, end) for key, span in entry.videos.items()}
    return replace(entry, length=length, videos=videos)


def _found(dataset: Dataset) -> Iterator[EpisodeEntry]:
    pattern = re.compile(r".*episode_(\d+)\.parquet")
    for path in sorted((dataset.root / "data").rglob("*.parquet")):
        match = pattern.fullmatch(path.name)
        name = PurePosixPath(path.relative_to(dataset.root))
        if match is None or dataset.table_path(int(match[1])) != name:
            continue
        try:
            with opened(path) as parquet:
                rows = int(parquet.metadata.num_rows)
                tasks = _tasks(dataset, parquet)
        except EpisodedError:
            continue
        index = int(match[1])
        end = float(rows / dataset.fps)
        videos = {camera.key: VideoSpan(dataset.video_path(camera.key, index), 0.0, end) for camera in dataset.cameras}
        yield EpisodeEntry(index, rows, tasks, name, 0, videos)


def _tasks(dataset: Dataset, parquet: object) -> tuple[str, ...]:
    indices = task_indices(parquet)
    return tuple(dataset.tasks[index] for index in indices if index in dataset.tasks)


def task_indices(parquet: object) -> list[int]:
    """The tasks that the rows of a table have, in the order in which they come; none without the column."""
    schema = parquet.schema_arrow  # type: ignore[attr-defined]
    if "task_index" not in schema.names:
        return []
    column = parquet.read(columns=["task_index"], use_threads=False).column(0)  # type: ignore[attr-defined]
    return [value for value in dict.fromkeys(column.to_pylist()) if isinstance(value, int)]
