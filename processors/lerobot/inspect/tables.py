"""The tables: opened one after another, read a few thousand rows at a time."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import InputError
from ...formats.lerobot_table import opened
from .columns import check_columns, leaf_type
from .rows import EpisodeRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set
    from pathlib import PurePosixPath

    from numpy.typing import NDArray

    from ..dataset import Dataset
    from ..findings import Problems

_BATCH: Final = 4096


def read_tables(
    dataset: Dataset, report: Problems, *, unreadable: Set[PurePosixPath], only: Set[int] | None = None
) -> Iterator[EpisodeRows]:
    """The checked rows of each episode in the order of the indices; what is wrong with them goes to `report`.

    `unreadable`: tables that are known not to be any, and are passed over. `only`: the episodes that are wanted.
    """
    entries = sorted(dataset.episodes, key=lambda entry: entry.index)
    starts = np.cumsum([0, *(entry.length for entry in entries)]).tolist()
    numbered = zip(entries, starts, strict=False)
    for name, group in groupby(numbered, key=lambda pair: pair[0].table):
        expected = [EpisodeRows(dataset, entry, start) for entry, start in group]
        wanted = only is None or any(rows.entry.index in only for rows in expected)
        if wanted and name not in unreadable:
            yield from _read(dataset, name, expected, report)


def _read(
    dataset: Dataset, name: PurePosixPath, expected: Sequence[EpisodeRows], report: Problems
) -> Iterator[EpisodeRows]:
    episode = expected[0].entry.index if len(expected) == 1 else None
    try:
        with opened(dataset.root / name) as parquet:
            check_columns(dataset, parquet.schema_arrow, name, report)
            due = sum(rows.entry.length for rows in expected)
            if parquet.metadata.num_rows != due:
                message = f"{parquet.metadata.num_rows} rows, the metadata says {due}"
                report.add("rows_mismatch", message, name, episode=episode)
                return
            keys = [field.name for field in parquet.schema_arrow if _is_number(field.type)]
            if _lie_apart(parquet, keys, expected, name, report):
                return
            yield from _checked(parquet, keys, expected, report)
    except InputError as error:
        report.add_error(error, name, episode=episode)


def _checked(
    parquet: Any, keys: Sequence[str], expected: Sequence[EpisodeRows], report: Problems
) -> Iterator[EpisodeRows]:
    waiting = iter(expected)
    current = next(waiting)
    for batch in parquet.iter_batches(batch_size=_BATCH, columns=list(keys), use_threads=False):
        columns, taken = {key: _array(batch.column(key)) for key in keys}, 0
        while taken < batch.num_rows:
            count = min(batch.num_rows - taken, current.entry.length - current.rows)
            current.add({key: values[taken : taken + count] for key, values in columns.items()})
            taken += count
            while current.rows == current.entry.length:
                current.report(report)
                yield current
                if (following := next(waiting, None)) is None:
                    return
                current = following


def _lie_apart(
    parquet: Any, keys: Sequence[str], expected: Sequence[EpisodeRows], name: PurePosixPath, report: Problems
) -> bool:
    """Whether the rows of the right episodes are there, but not one episode after another."""
    if "episode_index" not in keys or len(expected) == 1:
        return False
    column = parquet.read(columns=["episode_index"], use_threads=False).column(0).to_numpy()
    due = np.repeat([rows.entry.index for rows in expected], [rows.entry.length for rows in expected])
    if np.array_equal(column, due) or not np.array_equal(np.sort(column), due):
        return False
    row = int(np.argmax(column != due))
    report.add("row_order", f"row {row} is of episode {column[row]}, expected {due[row]}", name)
    return True


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    leaf = leaf_type(kind)
    return bool(pa.types.is_floating(leaf) or pa.types.is_integer(leaf) or pa.types.is_boolean(leaf))


def _array(column: Any) -> NDArray[Any]:
    """(rows,), or (rows, d) for a column of lists; absent values are NaN, lists of differing lengths are left out."""
    rows, nested = len(column), False
    while leaf_type(column.type) is not column.type:
        if column.null_count:
            return np.full((rows, 1), np.nan)
        column, nested = column.flatten(), True
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "O":
        return np.full((rows, 1), np.nan)  # nulls among booleans
    if not nested:
        return values
    return values.reshape(rows, -1) if rows and values.size % rows == 0 else np.empty((rows, 0))
