"""Tables written anew: with the counters that their rows should have, all other values as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ...formats.lerobot_table import opened
from ..inspect.columns import huggingface_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..dataset import Dataset
    from .truth import Numbered

COUNTERS: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """How the rows of one table change. `retimed`: episodes whose time stamps become frame / fps.

    `unordered`: episodes of which nothing says which rows belong where; what they say of it themselves stays.
    `task`: the task index for tables without that column. `dropped`: columns that go.
    """

    retimed: frozenset[int] = frozenset()
    unordered: frozenset[int] = frozenset()
    task: int | None = None
    dropped: frozenset[str] = field(default=frozenset())


def rewrite(dataset: Dataset, source: Path, target: Path, episodes: Sequence[Numbered], how: Rewriting) -> None:
    """Write the table at `source`, which holds `episodes`, to `target`: a row group for each, one in memory at a time.

    Raises InputError as `opened`.
    """
    import pyarrow.parquet as pq

    with opened(source) as parquet:
        codec = parquet.metadata.row_group(0).column(0).compression if parquet.metadata.num_row_groups else "SNAPPY"
        compression, writer = "none" if codec == "UNCOMPRESSED" else codec.lower(), None
        for episode, table in zip(episodes, _slices(parquet, episodes), strict=True):
            changed = _changed(dataset, table, episode, how)
            writer = writer or pq.ParquetWriter(target, changed.schema, compression=compression)
            writer.write_table(changed)
        if writer is not None:
            writer.close()


def _slices(parquet: Any, episodes: Sequence[Numbered]) -> Iterator[Any]:
    """The rows of each episode as a table, in turn."""
    import pyarrow as pa

    waiting: list[Any] = []
    held = 0
    batches = parquet.iter_batches(use_threads=False)
    for episode in episodes:
        while held < episode.entry.length:
            batch = next(batches)
            waiting.append(batch)
            held += batch.num_rows
        table = pa.Table.from_batches(waiting, schema=parquet.schema_arrow)
        yield table.slice(0, episode.entry.length)
        rest = table.slice(episode.entry.length)
        waiting, held = rest.to_batches(), rest.num_rows


def _changed(dataset: Dataset, table: Any, episode: Numbered, how: Rewriting) -> Any:
    import pyarrow as pa

    rows = table.num_rows
    table = table.drop_columns([key for key in table.column_names if key in how.dropped])
    wanted: dict[str, Any] = {
        "frame_index": range(rows),
        "episode_index": [episode.index] * rows,
        "index": range(episode.start, episode.start + rows),
    }
    if episode.entry.index in how.unordered and "frame_index" in table.column_names:
        del wanted["frame_index"]
    elif "timestamp" not in table.column_names or episode.entry.index in how.retimed:
        wanted["timestamp"] = [row / float(dataset.fps) for row in range(rows)]
    if "task_index" not in table.column_names and how.task is not None:
        wanted["task_index"] = [how.task] * rows
    for key in COUNTERS:
        if key not in wanted:
            continue
        place = table.schema.get_field_index(key)
        if place < 0:
            kind = pa.float32() if key == "timestamp" else pa.int64()
            table = table.append_column(key, pa.array(wanted[key], kind))
        else:
            column = pa.array(wanted[key], pa.float64() if key == "timestamp" else pa.int64())
            table = table.set_column(place, table.schema.field(key), _as(column, table.schema.field(key).type))
    return _with_features(table)


def _as(column: Any, kind: Any) -> Any:
    """The column in the type that the table has for it; some writers make lists of one."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(column.cast(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(range(len(column) + 1), column.cast(kind.value_type))
    return column.cast(kind)


def _with_features(table: Any) -> Any:
    """The table with what the `datasets` library notes of its columns, where it noted anything."""
    noted = huggingface_features(table.schema)
    if not noted:
        return table
    added = {
        key: {"dtype": "float32" if key == "timestamp" else "int64", "_type": "Value"}
        for key in table.column_names
        if key in COUNTERS and key not in noted
    }
    features = {key: value for key, value in {**noted, **added}.items() if key in table.column_names}
    metadata = {**table.schema.metadata, b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return table.replace_schema_metadata(metadata)
