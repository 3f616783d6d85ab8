"""The rows of an episode: read from whatever file they lie in, numbered for the dataset they go into, written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import InputError
from ...formats.lerobot_table import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_REPAIR: Final = "`episoded repair` puts the columns of a table right, then convert again"
#: What LeRobot finds an episode, its pictures and its task by.
_COUNTERS: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def read_rows(path: Path, first: int, count: int) -> pa.Table:
    """Rows `first` to before `first + count` of a parquet file; only the row groups that hold them are read.

    Raises InputError: `rows_mismatch` when there are fewer, and as `lerobot_table.opened`.
    """
    with opened(path) as parquet:
        groups, before, skipped = [], 0, 0
        for number in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(number).num_rows
            if before + rows > first and before < first + count:
                groups.append(number)
            elif before + rows <= first:
                skipped += rows
            before += rows
        table = parquet.read_row_groups(groups, use_threads=False) if groups else None
    found = 0 if table is None else min(table.num_rows - (first - skipped), count)
    if table is None or found != count:
        raise InputError("rows_mismatch", f"{path} has {found} of the {count} rows from row {first} on", _REPAIR)
    return table.slice(first - skipped, count)


def renumbered(table: pa.Table, path: Path, *, episode: int, start: int, tasks: Mapping[int, int]) -> pa.Table:
    """The rows as episode number `episode`, the first of them row `start` of the dataset, tasks by their new numbers.

    Raises InputError: `columns_missing`, `frame_index_broken`, `task_unknown`.
    """
    if missing := [name for name in _COUNTERS if name not in table.column_names]:
        raise InputError("columns_missing", f"{path} has no column {', '.join(missing)}", _REPAIR)
    frames = table.column("frame_index").to_numpy()
    if not np.array_equal(frames, np.arange(len(frames))):
        raise InputError("frame_index_broken", f"{path}: frame_index of episode {episode} is not 0, 1, 2 …", _REPAIR)
    numbers = table.column("task_index").to_numpy()
    if unknown := sorted(set(numbers.tolist()) - set(tasks)):
        raise InputError("task_unknown", f"{path}: task_index {unknown[0]} is not in the list of tasks", _REPAIR)
    counters = {
        "episode_index": np.full(len(frames), episode),
        "index": np.arange(start, start + len(frames)),
        "task_index": np.array([tasks[number] for number in numbers.tolist()]),
    }
    for name, values in counters.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


def without_videos(table: pa.Table, videos: Iterable[str]) -> pa.Table:
    """The rows without columns for pictures that lie in videos, and without a word of them in the file's metadata."""
    from ...metadata.table import forget_features

    dropped = [key for key in videos if key in table.column_names]
    if not dropped:
        return table
    metadata = {**(table.schema.metadata or {})}
    if b"huggingface" in metadata:
        metadata[b"huggingface"] = forget_features(metadata[b"huggingface"], dropped)
    return table.drop_columns(dropped).replace_schema_metadata(metadata)


def as_v21_notes_it(table: pa.Table) -> pa.Table:
    """The rows with their features described in the words of `datasets` 3, which LeRobot 0.3.3 reads tables with.

    `datasets` 4 calls a list `List` and not `Sequence` any more; its predecessor refuses the file for that word.
    """
    metadata = {**(table.schema.metadata or {})}
    if b"huggingface" not in metadata:
        return table
    try:
        metadata[b"huggingface"] = json.dumps(_renamed(json.loads(metadata[b"huggingface"]))).encode()
    except ValueError:
        return table  # not JSON: nobody reads it
    return table.replace_schema_metadata(metadata)


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        renamed = {key: _renamed(inner) for key, inner in value.items()}
        return renamed | {"_type": "Sequence"} if value.get("_type") == "List" else renamed
    return [_renamed(inner) for inner in value] if isinstance(value, list) else value


def write_rows(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write each table as one row group; one is in memory at a time. Returns the number of rows.

    The first table's columns and types are those of the file. Raises InputError (`table_unlike`) for a table that
    does not have them.
    """
    writer: Any = None
    rows = 0
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(_like(table, writer.schema, rows), row_group_size=max(table.num_rows, 1))
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def _like(table: pa.Table, schema: pa.Schema, row: int) -> pa.Table:
    try:
        if set(table.column_names) != set(schema.names):
            raise ValueError(f"columns {', '.join(sorted(set(table.column_names) ^ set(schema.names)))}")
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        what = f"the rows from {row} on are not like those before them: {str(error).partition(chr(10))[0]}"
        raise InputError("table_unlike", what, _REPAIR) from error
