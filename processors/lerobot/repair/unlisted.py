"""The episodes of a v3.0 dataset without a list of them: by the rows of its tables and the pictures of its videos."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ...errors import EpisodedError
from ...formats.lerobot_table import opened
from ..dataset import EpisodeEntry, VideoSpan
from ..inspect.film import read as read_film

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..dataset import Dataset

_NUMBERS: Final = re.compile(r"chunk-(\d+)/file-(\d+)\.\w+")
#: Episode index, number of rows, table, tasks.
_Run = tuple[int, int, PurePosixPath, tuple[str, ...]]


def unlisted_episodes(dataset: Dataset) -> tuple[EpisodeEntry, ...] | None:
    """The episodes, where there is only one way in which they can lie in the files; None where there is not.

    The rows say which episodes there are and how long they are. Videos hold them in the same order, so that each file
    must end where an episode ends.
    """
    try:
        runs = [run for name in _files(dataset, "data/*/*.parquet") for run in _runs(dataset, name)]
        spans = {camera.key: _spans(dataset, camera.key, runs) for camera in dataset.cameras}
    except EpisodedError:
        return None
    if [index for index, *_ in runs] != [*range(len(runs))] or any(found is None for found in spans.values()):
        return None
    return tuple(
        EpisodeEntry(
            index=index,
            length=length,
            tasks=tasks,
            table=table,
            first_row=sum(rows for _, rows, other, _ in runs[:index] if other == table),
            videos={key: found[index] for key, found in spans.items() if found is not None},
        )
        for index, length, table, tasks in runs
    )


def file_numbers(name: PurePosixPath) -> tuple[int, int] | None:
    """(chunk, file) of a table or video by its path."""
    match = _NUMBERS.search(str(name))
    return (int(match[1]), int(match[2])) if match else None


def _files(dataset: Dataset, pattern: str) -> list[PurePosixPath]:
    found = [PurePosixPath(path.relative_to(dataset.root)) for path in dataset.root.glob(pattern)]
    return sorted((name for name in found if file_numbers(name)), key=lambda name: file_numbers(name) or (0, 0))


def _runs(dataset: Dataset, name: PurePosixPath) -> Iterator[_Run]:
    """The episodes in one table, in the order of their rows."""
    with opened(dataset.root / name) as parquet:
        columns = parquet.read(columns=["episode_index", "task_index"], use_threads=False)
    pairs = zip(columns.column("episode_index").to_pylist(), columns.column("task_index").to_pylist(), strict=True)
    for index, rows in groupby(pairs, key=lambda pair: pair[0]):
        tasks = [task for _, task in rows]
        texts = tuple(dataset.tasks[task] for task in dict.fromkeys(tasks) if task in dataset.tasks)
        yield index, len(tasks), name, texts


def _spans(dataset: Dataset, camera: str, runs: Sequence[_Run]) -> list[VideoSpan] | None:
    """Where each episode lies in the videos of a camera; None where a file does not end with an episode."""
    spans: list[VideoSpan] = []
    for name in _files(dataset, f"videos/{camera}/*/*.mp4"):
        times = read_film(dataset.root / name).times
        first = 0
        while first < len(times) and len(spans) < len(runs):
            length = runs[len(spans)][1]
            start = float(times[first])
            spans.append(VideoSpan(name, start, start + length / float(dataset.fps)))
            first += length
        if first != len(times):
            return None
    return spans if len(spans) == len(runs) else None
