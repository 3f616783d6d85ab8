"""The parquet file of one episode: how many rows, whether they are in order, and what its picture columns hold."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, from_os_error
from ..media.lfs import refuse_pointer
from ..media.pipes import without_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_RESTORE = "upload this file again from the recorder, then retry"


@dataclass(frozen=True, slots=True)
class Table:
    """`rows`: the frames of the episode. `embedded`: camera keys whose pictures lie in the table itself.

    `dangling`: camera keys with a column of paths to pictures that are not in the table.
    """

    rows: int
    embedded: frozenset[str]
    dangling: frozenset[str]


def read_table(path: Path, cameras: Iterable[str]) -> Table:
    """Read the footer of an episode's parquet file, and the first row of its picture columns.

    Raises InputError: `table_missing`, `lfs_pointer`, `table_unreadable`, `frame_index_broken`.
    """
    with opened(path) as parquet:
        columns = set(parquet.schema_arrow.names)
        with_pictures = {key: _holds_pictures(parquet, key) for key in cameras if key in columns}
        if "frame_index" in columns:
            _check_order(parquet, path)
        return Table(
            rows=parquet.metadata.num_rows,
            embedded=frozenset(key for key, holds in with_pictures.items() if holds),
            dangling=frozenset(key for key, holds in with_pictures.items() if not holds),
        )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as a `pyarrow.parquet.ParquetFile`; what goes wrong with it is an InputError naming the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 - entered below
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("table_missing", f"{path} is missing: the rows of the episode", _RESTORE) from error
    except OSError as error:
        raise from_os_error(error) from error
    with file:
        if not file.seekable():
            raise InputError("table_unreadable", f"{path} is a named pipe, not a file", _RESTORE)
        refuse_pointer(file.read(64), path)
        try:
            with pq.ParquetFile(file) as parquet:
                yield parquet
        except (pa.ArrowException, OSError) as error:
            # pyarrow reports damaged pages as OSError too, without a number; the system's own errors have one.
            if isinstance(error, OSError) and error.errno:
                raise from_os_error(error) from error
            reason = str(error).partition("\n")[0]
            raise InputError("table_unreadable", f"{path} is damaged or no parquet file: {reason}", _RESTORE) from error


def _holds_pictures(parquet: Any, key: str) -> bool:
    """Whether a picture column holds encoded pictures rather than only the recorder's paths to them.

    LeRobot's type is struct<bytes, path>. DoRobot leaves `bytes` empty: its paths mean nothing on another computer.
    """
    for batch in parquet.iter_batches(batch_size=1, columns=[key], use_threads=False):
        value = batch.column(0)[0].as_py() if batch.num_rows else None
        return bool(value.get("bytes")) if isinstance(value, dict) else isinstance(value, bytes)
    return False


def _check_order(parquet: Any, path: Path) -> None:
    """Row k is frame k: anything else and nobody knows which picture belongs to which row."""
    column = parquet.read(columns=["frame_index"], use_threads=False).column(0).to_pylist()
    for row, number in enumerate(column):
        if number != row:
            raise InputError(
                "frame_index_broken",
                f"{path}: row {row} has frame_index {number}",
                "the rows of an episode are frames 0, 1, 2 … in order: mend the table, then retry",
            )
