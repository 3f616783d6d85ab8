"""One episode looked at before it is converted: every row read, every frame decoded, once.

What is found here is what the files that are made of the episode are checked against, and the statistics that only
v3.0 keeps. Until then nothing about the episode is believed: a video that is a frame short is found here, not by the
training job.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...errors import InputError
from ...media.clip import Clip, frames_of
from ...media.concat import packets_of
from ...media.video import probe
from ...metadata.edits import picture_statistics
from ...metadata.table import arrays_of
from .. import episode_stats, statistics
from ..episode_stats import in_order
from ..picture_statistics import sample_indices
from ..v30.layout import V30
from .pictures import measure_of, together
from .rows import as_v21_notes_it, read_rows, renumbered, without_videos

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

    import pyarrow as pa
    from av.video.frame import VideoFrame

    from ..dataset import Dataset, EpisodeEntry, Feature
    from ..episode_stats import Stats


class Part(BaseModel):
    """The frames of one camera of one episode: `frames` of the file `path`, relative to the dataset, from `first` on.

    `kind` is codec, pixel format and size in words, `headers` the sha256 of the parameter sets. `packets` is the
    sha256 of its packets and `bytes` their size; empty and 0 when it cannot be cut out without encoding. `pictures`:
    the sha256 of the first and the last frame, decoded.
    """

    model_config = ConfigDict(frozen=True)
    path: str
    first: int
    frames: int
    kind: str
    headers: str
    packets: str
    bytes: int
    pictures: tuple[str, str]


class Examined(BaseModel):
    """One episode. Its rows are `length` of `table`, relative to the dataset, from `first_row` on.

    `start`: the number of its first row in the dataset it goes to. `statistics` are those of `version`. `sources`:
    path, size and mtime_ns of every file that was read. `notes`: what should be seen.
    """

    model_config = ConfigDict(frozen=True)
    schema_version: int = 1
    version: str
    index: int
    length: int
    start: int
    tasks: tuple[str, ...]
    table: str
    first_row: int
    table_bytes: int
    parts: dict[str, Part]
    statistics: dict[str, dict[str, Any]]
    sources: tuple[tuple[str, int, int], ...]
    notes: tuple[str, ...] = ()

    def without_statistics(self) -> Examined:
        """What is needed of every episode at once; statistics are most of the size."""
        return self.model_copy(update={"statistics": {}})


@dataclass(frozen=True)
class Source:
    """A dataset that is converted to `version` ("v2.1", "v3.0"). `pictures`: image statistics as it has them."""

    dataset: Dataset
    version: str
    pictures: Mapping[int, Stats]

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The number of each task in the new dataset: LeRobot takes tasks by their position, so there are no gaps."""
        return {old: new for new, old in enumerate(sorted(self.dataset.tasks))}

    @cached_property
    def tasks(self) -> list[str]:
        """The texts of the tasks by their new numbers."""
        return [self.dataset.tasks[old] for old in sorted(self.dataset.tasks)]

    @cached_property
    def cameras(self) -> list[str]:
        """Keys of the cameras with videos, in the order of the features."""
        return [camera.key for camera in self.dataset.cameras]

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return self.dataset.fps

    def rows(self, table: str, first_row: int, length: int, index: int, start: int) -> pa.Table:
        """The rows of an episode as they go into the new dataset. Raises as `rows.renumbered`."""
        path = self.dataset.root / table
        rows = renumbered(read_rows(path, first_row, length), path, episode=index, start=start, tasks=self.numbers)
        rows = without_videos(rows, self.cameras)
        return rows if self.version == V30 else as_v21_notes_it(rows)

    def known_pictures(self, index: int) -> Stats:
        """Statistics of an episode's pictures: the dataset's own, and what was measured when it was encoded here."""
        known, measured = self.pictures.get(index, {}), picture_statistics(self.dataset.root, index)
        return {key: {**measured.get(key, {}), **known.get(key, {})} for key in {**measured, **known}}

    def clip(self, part: Part) -> Clip:
        """The frames of a camera of an episode."""
        return Clip(self.dataset.root / part.path, part.first, part.frames)


def sources_of(source: Source, entry: EpisodeEntry) -> tuple[tuple[str, int, int], ...]:
    """Path, size and mtime_ns of the files an episode lies in. Raises FileNotFoundError."""
    paths = [str(entry.table), *(str(entry.videos[key].file) for key in source.cameras)]
    found = [(path, (source.dataset.root / path).stat()) for path in paths]
    return tuple((path, status.st_size, status.st_mtime_ns) for path, status in found)


def examine(
    source: Source, entry: EpisodeEntry, start: int, threads: int, on_frame: Callable[[], None] = lambda: None
) -> Examined:
    """Read and decode one episode whole; `start` as in `Examined`.

    Raises InputError: those of `rows`, of `frames_of` and of `packets_of`, each naming the file.
    """
    before = sources_of(source, entry)
    dataset, table = source.dataset, str(entry.table)
    rows = source.rows(table, entry.first_row, entry.length, entry.index, start)
    columns = arrays_of(rows, {key: feature.raw for key, feature in dataset.features.items()})
    stats, parts, notes = _of_columns(source, columns), {}, []
    known = source.known_pictures(entry.index)
    for feature in dataset.features.values():
        if feature.is_video:
            part, found = _camera(source, entry, feature, threads, on_frame, known.get(feature.key))
            parts[feature.key] = part
            if found is not None:
                stats[feature.key] = found
        elif feature.is_picture and feature.key in known:
            stats[feature.key] = known[feature.key]  # the pictures lie in the table, and are not looked into
            notes.append(f"{feature.key}: statistics taken over, without quantiles")
    numbers = sorted(set(rows.column("task_index").to_pylist()))
    return Examined(
        version=source.version,
        index=entry.index,
        length=entry.length,
        start=start,
        tasks=entry.tasks or tuple(source.tasks[number] for number in numbers),
        table=table,
        first_row=entry.first_row,
        table_bytes=rows.nbytes,
        parts=parts,
        statistics=in_order(stats, dataset.features),
        sources=before,
        notes=tuple(notes),
    )


def picture_digest(frame: VideoFrame) -> str:
    """The sha256 of a decoded frame's samples."""
    try:
        samples = frame.to_ndarray()
    except ValueError:  # a pixel format that PyAV has no array for
        samples = frame.to_ndarray(format="rgb48le")
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()


def _of_columns(source: Source, columns: Mapping[str, Any]) -> Stats:
    if source.version == V30:
        return statistics.of_columns(columns, source.rate)
    return episode_stats.of_columns(columns, source.rate)


def _camera(
    source: Source,
    entry: EpisodeEntry,
    feature: Feature,
    threads: int,
    on_frame: Callable[[], None],
    theirs: dict[str, Any] | None,
) -> tuple[Part, dict[str, Any] | None]:
    """Decode the frames of one camera; also its statistics, which are `theirs` as far as they are right."""
    span = entry.videos[feature.key]
    clip = Clip(source.dataset.root / span.file, round(span.start_s * source.rate), entry.length)
    info = probe(clip.path)
    measure = measure_of(feature, theirs, source.version, info.pix_fmt)
    counted, pictures = frozenset(sample_indices(entry.length)), []
    for number, frame in enumerate(frames_of(clip, source.rate, threads)):
        on_frame()
        if measure is not None and number in counted:
            measure.add(frame)
        if number in (0, entry.length - 1):
            pictures.append(picture_digest(frame))
    packets, size = _packets(clip, source)
    part = Part(
        path=str(span.file),
        first=clip.first,
        frames=clip.frames,
        kind=f"{info.codec} {info.pix_fmt} {info.width}x{info.height}",
        headers=hashlib.sha256(info.headers).hexdigest(),
        packets=packets,
        bytes=size,
        pictures=(pictures[0], pictures[-1]),
    )
    return part, together(theirs, measure, source.version)


def _packets(clip: Clip, source: Source) -> tuple[str, int]:
    """(sha256, size) of the packets; ("", 0) for a clip in a v3.0 file that cannot be cut out of it."""
    found, size = hashlib.sha256(), 0
    try:
        for _, packet in packets_of(clip, source.rate):
            found.update(packet)
            size += packet.size
    except InputError as error:
        if error.code != "not_at_keyframe" or source.version == V30:
            raise
        return "", 0
    return found.hexdigest(), size
