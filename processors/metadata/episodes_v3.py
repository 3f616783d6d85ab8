"""`meta/episodes` of a v3.0 recording: a row for each episode in order, with statistics and places of videos."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..formats.lerobot_v3_videos import number_of
from ..formats.whole import is_closed, parquet_ends
from ..lerobot.episode_stats import aggregate, in_order, is_valid_picture
from ..lerobot.reading import read_dataset, read_episode_stats
from ..lerobot.v30.episodes import EpisodeRow, VideoPart, write_episodes
from ..lerobot.v30.layout import EPISODES_PATH, FIRST_FILE, FileIndex
from ..lerobot.v30.reading import episode_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..formats.lerobot_v3_recording import Entry, Recording
    from ..lerobot.episode_stats import Stats

_PLACE: Final = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
_OWN: Final = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index")
_GONE: Final = ("dataset_to_index", "meta/episodes/chunk_index", "meta/episodes/file_index")


class Finished(TypedDict):
    """What is published of a finished episode. `videos`: camera key -> chunk, file, and first frame in that file."""

    stats: Stats
    videos: dict[str, tuple[int, int, int]]


def episode_files_to_write(root: Path) -> list[PurePosixPath]:
    """The files of `meta/episodes` there are, or the one that there should be."""
    return episode_files(root) or [PurePosixPath(FIRST_FILE.path(EPISODES_PATH))]


def listed_episodes(
    recording: Recording, name: PurePosixPath, current: bytes | None, finished: Mapping[int, Finished]
) -> bytes | None:
    """The content of the file `name` from `current`; None when there is nothing to change.

    Rows that are there keep what they say; of the finished episodes the places of the videos and absent or invalid
    statistics are filled in. Episodes without a row get one in the last file: those whose rows in `data/` can be read.
    """
    received = _rows(recording.root / name) if _is_there(recording.root / name) else {}
    ours = _rows(pa.BufferReader(current)) if current and is_closed(current) else {}
    found = {**received, **ours}
    rows = {index: _row(columns, recording) for index, columns in found.items()}
    if name == episode_files_to_write(recording.root)[-1]:
        for index, entry in recording.entries.items():
            if index not in rows and not entry.listed and (entry.table not in recording.unclosed or index in finished):
                rows[index] = _new_row(entry)
    new = {index: _completed(row, finished.get(index), recording) for index, row in sorted(rows.items())}
    if not new or (current and ours.keys() == new.keys() and all(new[index] is rows[index] for index in new)):
        return None
    sink = io.BytesIO()
    write_episodes(sink, list(new.values()), number_of(name))
    return sink.getvalue()


def _is_there(path: Path) -> bool:
    return path.is_file() and parquet_ends(path)


def total_stats(output: Path, found: Mapping[str, Any]) -> Stats:
    """`meta/stats.json` as `found`, with what it lacks of the features that every episode has statistics of.

    An entry is kept when it is valid and counts as many rows as the episodes together.
    """
    dataset = read_dataset(output, [])
    colour = {feature.key for feature in dataset.cameras if not feature.is_depth}
    total: Stats | None = None
    for _, stats in read_episode_stats(dataset, []):
        total = stats if total is None else aggregate([total, {key: stats[key] for key in total if key in stats}])
        total = {key: total[key] for key in total if key in stats}
    new = {**found}
    for key, entry in (total or {}).items():
        old = found.get(key)
        whole = isinstance(old, dict) and old.get("count") == entry.get("count")
        if not whole or (key in colour and not _is_right(old, entry)):
            new[key] = entry
    return in_order(new, dataset.features)


def _is_right(theirs: object, ours: Mapping[str, Any]) -> bool:
    """Whether statistics of pictures that lie there may stay, beside what was measured on the same pictures.

    The spread of lerobot 0.4.0 to 0.5.1 overflows (its #3682): it is 0 of an episode, and next to 0 of all of them.
    """
    if not isinstance(theirs, dict) or not is_valid_picture(theirs):
        return False
    return bool((np.asarray(theirs["std"]) >= np.asarray(ours["std"]) / 2).all())


def _rows(source: Any) -> dict[int, dict[str, Any]]:
    with pq.ParquetFile(source) as parquet:
        return {columns["episode_index"]: columns for columns in parquet.read(use_threads=False).to_pylist()}


def _row(columns: Mapping[str, Any], recording: Recording) -> EpisodeRow:
    """A row as it was read. Further columns of the dataset's own are kept."""
    stats: Stats = {}
    extra = {}
    keys = [camera.key for camera in recording.cameras]
    for column, value in columns.items():
        if column.startswith("stats/") and value is not None:
            feature, _, statistic = column.removeprefix("stats/").rpartition("/")
            stats.setdefault(feature, {})[statistic] = value
        elif not column.startswith(("stats/", "videos/")) and column not in (*_OWN, *_GONE):
            extra[column] = value
    return EpisodeRow(
        index=columns["episode_index"],
        tasks=tuple(columns.get("tasks") or ()),
        length=columns["length"],
        data=FileIndex(columns["data/chunk_index"], columns["data/file_index"]),
        first=columns.get("dataset_from_index") or 0,
        videos={key: part for key in keys if (part := _part(columns, key)) is not None},
        stats=stats,
        extra=extra,
    )


def _part(columns: Mapping[str, Any], key: str) -> VideoPart | None:
    values = [columns.get(f"videos/{key}/{name}") for name in _PLACE]
    chunk, file, start, stop = values
    if chunk is None or file is None or start is None or stop is None:
        return None
    return VideoPart(FileIndex(chunk, file), Fraction(start), Fraction(stop))


def _new_row(entry: Entry) -> EpisodeRow:
    tasks = tuple(text for text in entry.tasks if text is not None)
    return EpisodeRow(entry.index, tasks, entry.length, number_of(entry.table), entry.first, {}, {})


def _completed(row: EpisodeRow, finished: Finished | None, recording: Recording) -> EpisodeRow:
    """The row with what is known of its finished episode; the same row when there is nothing to add."""
    if finished is None:
        return row
    made = {key: _made(place, row.length, recording.fps) for key, place in finished["videos"].items()}
    colour = {camera.key for camera in recording.cameras if camera.depth_info is None}
    theirs, ours = row.stats, finished["stats"]
    broken = {key for key in colour & theirs.keys() & ours.keys() if not _is_right(theirs[key], ours[key])}
    lacking = {key: entry for key, entry in ours.items() if key not in theirs or key in broken}
    if made.keys() <= row.videos.keys() and not lacking:
        return row
    videos = {**made, **row.videos}
    return replace(
        row,
        videos={camera.key: videos[camera.key] for camera in recording.cameras if camera.key in videos},
        stats=in_order({**theirs, **lacking}, ours),
    )


def _made(place: tuple[int, int, int], length: int, fps: Fraction) -> VideoPart:
    chunk, file, first = place
    return VideoPart(FileIndex(chunk, file), first / fps, (first + length) / fps)
