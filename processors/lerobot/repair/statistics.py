"""Statistics reckoned from what tables and videos hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import EpisodedError, InputError
from ...formats.lerobot_table import opened
from ...media import video
from ...metadata.table import arrays_of
from ..episode_stats import Stats, in_order, is_valid_picture
from ..episode_stats import of_columns as of_columns_v21
from ..inspect.film import read as read_film
from ..picture_statistics import ImageStatistics, histogram, sample_indices
from ..statistics import of_columns as of_columns_v30
from ..statistics import of_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import PurePosixPath

    from numpy.typing import NDArray

    from ..dataset import Dataset, Feature
    from .rows import Rewriting
    from .truth import Numbered


def of_episode(
    dataset: Dataset, episode: Numbered, how: Rewriting, recorded: Stats, pictures: Mapping[str, dict[str, Any]]
) -> Stats:
    """The statistics of one episode as its version keeps them.

    Numbers come from its rows as they will be; a camera's from `pictures` where that has it, else as `recorded`.
    """
    columns = _columns(dataset, episode, how)
    v3 = dataset.version >= (3, 0)
    numbers: Stats = (of_columns_v30 if v3 else of_columns_v21)(columns, dataset.fps)
    cameras = {
        key: pictures.get(key) or recorded[key]
        for key, feature in dataset.features.items()
        if feature.is_picture and (key in pictures or key in recorded)
    }
    # What can be reckoned of neither (texts, pictures inside of the table) stays as it was recorded.
    return in_order({**recorded, **numbers, **cameras}, dataset.features)


def is_usable(dataset: Dataset, camera: Feature, entry: object) -> bool:
    """Whether recorded statistics of a camera can stay; of v3.0 with quantiles."""
    if camera.is_depth:
        return isinstance(entry, dict)
    quantiles = dataset.version < (3, 0) or (isinstance(entry, dict) and "q50" in entry)
    return quantiles and is_valid_picture(entry)


def of_video(
    dataset: Dataset, file: PurePosixPath, parts: Sequence[tuple[Numbered, float]]
) -> dict[int, dict[str, Any]]:
    """Statistics of the episodes in one video file, decoded once: episode index (as recorded) -> entry.

    `parts`: the episodes, each with the time of its first picture in seconds. One whose pictures are not all there is
    left out; so are all where the file cannot be decoded.
    """
    try:
        times = read_film(dataset.root / file).times
        firsts = {episode.entry.index: int(np.argmin(np.abs(times - start))) for episode, start in parts}
        return _decoded(dataset, file, firsts, {episode.entry.index: episode.entry.length for episode, _ in parts})
    except (EpisodedError, ValueError):
        return {}


def _decoded(
    dataset: Dataset, file: PurePosixPath, firsts: Mapping[int, int], lengths: Mapping[int, int]
) -> dict[int, dict[str, Any]]:
    wanted: dict[int, list[int]] = {}
    for index, first in firsts.items():
        for number in sample_indices(lengths[index]):
            wanted.setdefault(first + number, []).append(index)
    seen = {index: ImageStatistics() for index in firsts}
    count = 0
    for count, frame in enumerate(video.frames(dataset.root / file), 1):
        for index in wanted.get(count - 1, ()):
            seen[index].add(histogram(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)))
    whole = [index for index in firsts if firsts[index] + lengths[index] <= count]
    if dataset.version < (3, 0):
        return {index: seen[index].result() for index in whole}
    return {index: of_pictures(seen[index].counts, seen[index].frames) for index in whole}


def _columns(dataset: Dataset, episode: Numbered, how: Rewriting) -> dict[str, NDArray[Any]]:
    """The numeric columns of an episode, with the counters that it will have."""
    raw = {key: feature.raw for key, feature in dataset.features.items()}
    entry, rows = episode.entry, episode.entry.length
    try:
        with opened(dataset.root / entry.table) as parquet:
            wanted = [key for key in parquet.schema_arrow.names if key in raw]
            table = parquet.read(columns=wanted, use_threads=False).slice(entry.first_row, rows)
    except InputError:
        return {}  # that the table cannot be read is a finding of its own; what was recorded of the episode stays
    columns = arrays_of(table, raw)
    numbers = np.arange(rows)
    counters: dict[str, NDArray[Any]] = {
        "frame_index": numbers,
        "episode_index": np.full(rows, episode.index),
        "index": numbers + episode.start,
    }
    if "timestamp" not in columns or entry.index in how.retimed:
        counters["timestamp"] = (numbers / float(dataset.fps)).astype(np.float32)
    if "task_index" not in columns and how.task is not None:
        counters["task_index"] = np.full(rows, how.task)
    return {key: values for key, values in {**columns, **counters}.items() if key in dataset.features}
