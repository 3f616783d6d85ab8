"""The files of `data/` of a LeRobot v3.0 dataset: which episodes' rows are in them, whether they were closed or not.

The recorder holds one file open for a whole session, appends a row group for each episode and writes the footer when
it closes the file. Without a footer no reader opens it; `parquet_rescue` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import from_os_error
from ..media.lfs import refuse_pointer
from .lerobot_table import opened
from .signatures import Signature, signature_of
from .whole import is_closed, parquet_ends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from .parquet_rescue import Rescued

DATA: Final = PurePosixPath("data")
#: Where the files are kept that their recorder never closed, as it left them.
AS_RECORDED: Final = PurePosixPath(".episoded/as_recorded")
_COUNTERS: Final = ("episode_index", "frame_index", "index", "task_index")


class Span(Protocol):
    """Where the rows of an episode lie."""

    @property
    def table(self) -> PurePosixPath:
        """The file, relative to the dataset."""

    @property
    def first_row(self) -> int:
        """The first of them in the file."""

    @property
    def length(self) -> int:
        """How many there are."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one episode: `first_row` to before `first_row + length` of `table`.

    `first` is the `index` of the first of them, which counts through the whole dataset; `tasks` their task indices.
    """

    index: int
    length: int
    table: PurePosixPath
    first_row: int
    first: int
    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowsFile:
    """One file. `rescued` is None for one that was closed; `damage` says what of it cannot be used, in words."""

    name: PurePosixPath
    rows: tuple[Rows, ...]
    rescued: Rescued | None = None
    damage: str = ""


def table_files(root: Path) -> list[PurePosixPath]:
    """The files of `data/`, in the order in which LeRobot puts their rows together."""
    return sorted(PurePosixPath(path.relative_to(root)) for path in (root / DATA).glob("*/*.parquet"))


def kept(name: PurePosixPath) -> PurePosixPath:
    """Where a shared file is kept as it was recorded. Not `.parquet`: LeRobot's recorder counts those."""
    return AS_RECORDED / f"{str(name).replace('/', '__')}.kept"


def newest(root: Path, name: PurePosixPath, features: Mapping[str, Any]) -> Path:
    """The file with the rows: the one of this name, or what was kept of it when more has been written into that.

    A recorder that was taken for dead holds its file open, and goes on writing into what was kept.
    """
    ours, recorded = root / name, root / kept(name)
    if not recorded.is_file():
        return ours
    states = (signature_of(recorded), signature_of(ours))
    return recorded if _has_more(recorded, ours, states, json.dumps(features)) else ours


@lru_cache(maxsize=64)
def _has_more(recorded: Path, ours: Path, _states: tuple[Signature, Signature], features: str) -> bool:
    """Whether the first file has more rows: asked once for each state of the two."""
    counts = []
    for path in (recorded, ours):
        content = path.read_bytes()
        rescued = None if is_closed(content) else _rescue(content, json.loads(features))
        if is_closed(content):
            with opened(path) as parquet:
                counts.append(parquet.metadata.num_rows)
        else:
            counts.append(sum(rescued.rows) if rescued else 0)
    return bool(counts[0] > counts[1])


def count_rows(path: Path) -> int | None:
    """How many rows a file has by its footer; None when it was not closed. Raises InputError as `opened`."""
    if not parquet_ends(path):
        with path.open("rb") as file:
            refuse_pointer(file.read(64), path)
        return None
    with opened(path) as parquet:
        return int(parquet.metadata.num_rows)


def read_rows(root: Path, name: PurePosixPath, features: Mapping[str, Any]) -> RowsFile:
    """The episodes in a file, closed or not. `features` are those of `meta/info.json`.

    Raises InputError for a file that was closed and cannot be read (`table_unreadable`, `lfs_pointer`).
    """
    path = newest(root, name, features)
    if count_rows(path) is not None:
        with opened(path) as parquet:
            rows, damage = _rows_in(parquet, name)
        return RowsFile(name, rows, None, damage)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os_error(error) from error
    return _rescued(name, content, features)


def closed_table(content: bytes, features: Mapping[str, Any]) -> bytes:
    """The content of a file that was never closed, with a footer behind its rows; without rows when none is whole.

    A file that LeRobot cannot read keeps it from opening the dataset, even if there is nothing in it.
    """
    from .lerobot_v3_schema import row_schema
    from .parquet_rescue import empty_file

    rescued = _rescue(content, features)
    return rescued.content(content) if rescued else empty_file(row_schema(features))


def read_span(root: Path, rows: Span, features: Mapping[str, Any]) -> pa.Table:
    """The rows of one episode, of a file that was closed or not. Raises InputError as `opened`."""
    path = newest(root, rows.table, features)
    if count_rows(path) is None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = closed_table(path.read_bytes(), features)
        with pq.ParquetFile(pa.BufferReader(content)) as parquet:
            return _span(parquet, rows)
    with opened(path) as parquet:
        return _span(parquet, rows)


def _span(parquet: Any, rows: Span) -> pa.Table:
    """Of the row groups only those in which they lie: a file has many episodes."""
    begin = at = 0
    wanted: list[int] = []
    for number in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(number).num_rows
        if at + count > rows.first_row and at < rows.first_row + rows.length:
            begin = begin if wanted else at
            wanted.append(number)
        at += count
    return parquet.read_row_groups(wanted, use_threads=False).slice(rows.first_row - begin, rows.length)


def _rescued(name: PurePosixPath, content: bytes, features: Mapping[str, Any]) -> RowsFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rescued = _rescue(content, features)
    if rescued is None:
        return RowsFile(name, (), None, f"{name} was never closed, and holds no whole row group ({len(content)} bytes)")
    with pq.ParquetFile(pa.BufferReader(rescued.content(content))) as parquet:
        rows, damage = _rows_in(parquet, name)
    lost = f"; {rescued.left} bytes behind them hold no whole row group" if rescued.left else ""
    what = f"{name} was never closed: {len(rows)} episodes, {sum(rescued.rows)} rows of it were recovered{lost}"
    return RowsFile(name, rows, rescued, f"{what}; {damage}" if damage else what)


def _rescue(content: bytes, features: Mapping[str, Any]) -> Rescued | None:
    from .lerobot_v3_schema import row_schema, row_widths
    from .parquet_rescue import rescue

    try:
        return rescue(content, row_schema(features), row_widths(features))
    except (KeyError, TypeError, ValueError):
        return None  # features of which nobody knows how they would lie in the file


def _rows_in(parquet: Any, name: PurePosixPath) -> tuple[tuple[Rows, ...], str]:
    """The episodes of a file in order, and where their rows stop making sense, in words."""
    missing = [column for column in _COUNTERS[:2] if column not in parquet.schema_arrow.names]
    if missing:
        return (), f"{name} has no column {missing[0]}: nobody can say which rows are whose"
    columns = [column for column in _COUNTERS if column in parquet.schema_arrow.names]
    table = parquet.read(columns=columns, use_threads=False).to_pydict()
    found: list[Rows] = []
    for first_row, length in _runs(table["episode_index"]):
        span = slice(first_row, first_row + length)
        index = table["episode_index"][first_row]
        if table["frame_index"][span] != list(range(length)) or any(index == rows.index for rows in found):
            return tuple(found), f"{name}: the rows of episode {index} are not its frames 0, 1, 2 … in order"
        first = table["index"][first_row] if "index" in table else first_row
        tasks = tuple(dict.fromkeys(table["task_index"][span])) if "task_index" in table else ()
        found.append(Rows(index, length, name, first_row, first, tasks))
    return tuple(found), ""


def _runs(values: list[int]) -> Iterator[tuple[int, int]]:
    """(start, length) of each run of equal values."""
    start = 0
    for at in range(1, len(values) + 1):
        if at == len(values) or values[at] != values[start]:
            yield start, at - start
            start = at
