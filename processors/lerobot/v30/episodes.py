"""`meta/episodes/*.parquet` of v3.0: one row for each episode, in order of the episodes.

LeRobot finds an episode by the *position* of its row: rows out of order give the pictures of another episode without a
word. Columns, their order and types are those of lerobot 0.4.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from .layout import FIRST_FILE, FileIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from fractions import Fraction
    from pathlib import Path

    from ..episode_stats import Stats

_Kind = tuple[int, type]
#: Rows that are held in memory, and written as one row group.
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class VideoPart:
    """Where a camera's frames of one episode lie: in which file, from `start` up to `stop`, in seconds."""

    at: FileIndex
    start: Fraction
    stop: Fraction


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One episode. `data`: the file with its rows; `first`: the `index` of the first of them in the dataset.

    `videos` by camera key. `extra`: further columns, of plain values, that a dataset keeps of its episodes.
    """

    index: int
    tasks: tuple[str, ...]
    length: int
    data: FileIndex
    first: int
    videos: Mapping[str, VideoPart]
    stats: Stats
    extra: Mapping[str, Any] = field(default_factory=dict)


def write_episodes(path: Path | IO[bytes], rows: Iterable[EpisodeRow], at: FileIndex = FIRST_FILE) -> None:
    """Write the rows to `path`, or a file that is open: the file numbered `at`. A hundred are in memory at a time.

    `rows` is gone through twice, because every row must have every column: it must not be an iterator.
    Raises ValueError for rows that are not in order, and where a column holds values of different types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if iter(rows) is rows:
        raise TypeError("rows are gone through twice: pass a sequence, not an iterator")
    schema = pa.schema(list(_types(rows, at).items()))
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _batches(rows):
            columns = [_columns(row, at) for row in batch]
            arrays = [pa.array([row.get(name) for row in columns], schema.field(name).type) for name in schema.names]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _columns(row: EpisodeRow, at: FileIndex) -> dict[str, Any]:
    """The row, column by column, in the order of LeRobot's recorder."""
    columns: dict[str, Any] = {
        "episode_index": row.index,
        "tasks": list(row.tasks),
        "length": row.length,
        "data/chunk_index": row.data.chunk,
        "data/file_index": row.data.file,
        "dataset_from_index": row.first,
        "dataset_to_index": row.first + row.length,
    }
    for key, span in row.videos.items():
        columns[f"videos/{key}/chunk_index"] = span.at.chunk
        columns[f"videos/{key}/file_index"] = span.at.file
        columns[f"videos/{key}/from_timestamp"] = float(span.start)
        columns[f"videos/{key}/to_timestamp"] = float(span.stop)
    for key, entry in row.stats.items():
        columns |= {f"stats/{key}/{name}": value for name, value in entry.items()}
    columns |= {key: value for key, value in row.extra.items() if key not in columns}
    columns["meta/episodes/chunk_index"] = at.chunk
    columns["meta/episodes/file_index"] = at.file
    return columns


def _types(rows: Iterable[EpisodeRow], at: FileIndex) -> dict[str, Any]:
    """The arrow type of each column. What only some rows have (statistics of a feature) is null in the others."""
    kinds: dict[str, _Kind] = {}
    last = None
    for row in rows:
        if last is not None and row.index != last + 1:
            raise ValueError(f"episode {row.index} after episode {last}: LeRobot finds episodes by their position")
        last = row.index
        for name, value in _columns(row, at).items():
            kind = _kind(value)
            known = kinds.setdefault(name, kind)
            if known != kind:
                kinds[name] = _wider(name, known, kind)
    # What only later rows have goes before the file's own numbers, which LeRobot writes last. The sort is stable.
    names = sorted(kinds, key=lambda name: name.startswith("meta/episodes/"))
    return {name: _arrow_type(kinds[name]) for name in names}


def _kind(value: object) -> _Kind:
    """How many lists deep the values lie, and what they are."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth, type(value)


def _wider(name: str, one: _Kind, other: _Kind) -> _Kind:
    """The kind that holds both: a statistic read from JSON may be 0 in one episode and 0.5 in the next."""
    kinds = {one[1], other[1]} - {type(None)}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1 or (one[0] != other[0] and type(None) not in (one[1], other[1])):
        raise ValueError(f"column {name} holds {one[1].__name__} in one episode and {other[1].__name__} in another")
    return max(one[0], other[0]), next(iter(kinds), type(None))


def _arrow_type(kind: _Kind) -> Any:
    import pyarrow as pa

    depth, leaf = kind
    arrow = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string(), type(None): pa.string()}[leaf]
    for _ in range(depth):
        arrow = pa.list_(pa.field("element", arrow))
    return arrow


def _batches(rows: Iterable[EpisodeRow]) -> Iterator[list[EpisodeRow]]:
    batch: list[EpisodeRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
