"""A parquet file without its footer: what its row groups hold, found by walking the pages from its start.

A recorder that is killed leaves the row groups it has written and nothing that says where they lie: no reader opens
the file. But each page says how long it is and how many values it holds, a column begins with its dictionary, and the
dataset knows its columns. So the footer can be written anew behind the last row group that is whole. Not a byte of the
rows is touched, and pyarrow must read all of them before anybody relies on it.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .parquet_thrift import BINARY, I32, I64, LIST, STRUCT, NotThrift, read_struct, write_list, write_struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from .parquet_thrift import Written

MAGIC: Final = b"PAR1"

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PAGE_FIELD: Final = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_PHYSICAL: Final = {
    name: number
    for number, name in enumerate(
        ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
    )
}
_SNAPPY: Final = 1
_RLE: Final = 3
_LARGEST_HEADER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Rescued:
    """A file that could be read again: its first `end` bytes as they are, and `footer` behind them.

    `rows`: of each row group. `left`: bytes behind the last whole row group, in which there is a piece of another, or
    nothing of use.
    """

    end: int
    footer: bytes
    rows: tuple[int, ...]
    left: int

    def content(self, recorded: bytes) -> bytes:
        """The whole file, from its recorded content."""
        return recorded[: self.end] + self.footer


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    kind: int
    values: int
    unpacked: int
    encoding: int


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A column as parquet has it. `width`: values in a row."""

    parts: tuple[str, ...]
    physical: str
    width: int


_Chunk = tuple[_Page, ...]


def rescue(content: bytes, schema: pa.Schema, widths: Mapping[str, int]) -> Rescued | None:
    """Find the whole row groups of `content`, a file that pyarrow wrote with `schema` and snappy compression.

    `widths`: how many numbers a row of a column holds where that is not one. None when not one row group is whole.
    """
    if content[: len(MAGIC)] != MAGIC:
        return None
    blank, leaves = _blank(schema, widths)
    pages = list(_pages(content))
    groups, at = [], 0
    while (found := _row_group(pages, at, leaves)) is not None:
        chunks, rows, at = found
        groups.append((chunks, rows))
    if groups:  # what cannot be read is not whole
        del groups[_readable(_with_footer(content, blank, leaves, groups).content(content)) :]
    return _with_footer(content, blank, leaves, groups) if groups else None


def empty_file(schema: pa.Schema) -> bytes:
    """A parquet file of this schema without rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="snappy"):
        pass
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _pages(content: bytes) -> Iterator[_Page]:
    """The pages from the start on, until something is no page."""
    view, at = memoryview(content), len(MAGIC)
    while at < len(content):
        try:
            header, body = read_struct(view[: at + _LARGEST_HEADER], at)
            page = _page(header, at, body)
        except (NotThrift, KeyError, TypeError, AttributeError):
            return
        if page is None or page.end > len(content):
            return
        yield page
        at = page.end


def _page(header: Mapping[int, Any], start: int, body: int) -> _Page | None:
    kind, unpacked, packed = (header[number].value for number in (1, 2, 3))
    if kind not in _PAGE_FIELD or unpacked < 0 or packed < 0:
        return None
    about = header[_PAGE_FIELD[kind]].value
    encoding = about[4 if kind == _DATA_V2 else 2].value
    return _Page(start, body + packed, kind, about[1].value, unpacked + body - start, encoding)


def _row_group(pages: Sequence[_Page], at: int, leaves: Sequence[_Leaf]) -> tuple[list[_Chunk], int, int] | None:
    """The chunk of each column of the row group that begins with page `at`, its rows, and the page behind it.

    How many rows there are is not written anywhere: it is tried from the pages of the first column, and only one
    number fits all of the columns.
    """
    first = leaves[0]
    for taken in range(1, len(pages) - at + 1):
        chunk = tuple(pages[at : at + taken])
        if chunk[-1].kind == _DICTIONARY and taken > 1:
            return None
        rows, rest = divmod(sum(page.values for page in chunk if page.kind != _DICTIONARY), first.width)
        if rest or not rows or not _begins_well(chunk, first):
            continue
        chunks, position = [chunk], at + taken
        for leaf in leaves[1:]:
            following = _chunk(pages, position, leaf, rows)
            if following is None:
                break
            chunks.append(following)
            position += len(following)
        else:
            return chunks, rows, position
    return None


def _chunk(pages: Sequence[_Page], at: int, leaf: _Leaf, rows: int) -> _Chunk | None:
    """The pages of a column that hold `rows` rows, from page `at`; None when it does not come out even."""
    chunk: list[_Page] = []
    values = 0
    while at < len(pages) and values < rows * leaf.width:
        page = pages[at]
        if page.kind == _DICTIONARY and chunk:
            return None
        chunk.append(page)
        values += page.values if page.kind != _DICTIONARY else 0
        at += 1
    return tuple(chunk) if values == rows * leaf.width and _begins_well(chunk, leaf) else None


def _begins_well(chunk: Sequence[_Page], leaf: _Leaf) -> bool:
    """Pyarrow writes a dictionary first for everything but booleans, even where it gives it up later."""
    return bool(chunk) and (chunk[0].kind == _DICTIONARY) == (leaf.physical != "BOOLEAN")


def _blank(schema: pa.Schema, widths: Mapping[str, int]) -> tuple[list[Written], list[_Leaf]]:
    """The footer of a file without rows, to be written again with some, and its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = empty_file(schema)
    size = int.from_bytes(empty[-8:-4], "little")
    fields, _ = read_struct(empty, len(empty) - 8 - size)
    columns = pq.read_metadata(pa.BufferReader(empty)).schema
    leaves = []
    for column in map(columns.column, range(len(columns))):
        top = _top(column.path, schema.names)
        parts = (top, *filter(None, column.path[len(top) + 1 :].split(".")))
        leaves.append(_Leaf(parts, column.physical_type, widths.get(top, 1)))
    blank = [
        (number, field.kind, field.value if field.kind == BINARY else empty[field.start : field.end])
        for number, field in fields.items()
    ]
    return blank, leaves


def _top(path: str, names: Sequence[str]) -> str:
    """The column of the table to which a parquet column belongs; both are full of dots."""
    return max((name for name in names if f"{path}.".startswith(f"{name}.")), key=len)


def _with_footer(
    content: bytes, blank: Sequence[Written], leaves: Sequence[_Leaf], groups: Sequence[tuple[list[_Chunk], int]]
) -> Rescued:
    end = groups[-1][0][-1][-1].end
    rows = tuple(rows for _, rows in groups)
    ours = {3: sum(rows), 4: write_list(STRUCT, [_group(leaves, *group) for group in groups])}
    footer = write_struct([(number, kind, ours.get(number, value)) for number, kind, value in blank])
    return Rescued(end, footer + len(footer).to_bytes(4, "little") + MAGIC, rows, len(content) - end)


def _group(leaves: Sequence[_Leaf], chunks: Sequence[_Chunk], rows: int) -> bytes:
    columns = [_column(leaf, chunk) for leaf, chunk in zip(leaves, chunks, strict=True)]
    unpacked = sum(page.unpacked for chunk in chunks for page in chunk)
    return write_struct([(1, LIST, write_list(STRUCT, columns)), (2, I64, unpacked), (3, I64, rows)])


def _column(leaf: _Leaf, chunk: _Chunk) -> bytes:
    data = [page for page in chunk if page.kind != _DICTIONARY]
    encodings = sorted({page.encoding for page in chunk} | {_RLE})
    fields: list[Written] = [
        (1, I32, _PHYSICAL[leaf.physical]),
        (2, LIST, write_list(I32, encodings)),
        (3, LIST, write_list(BINARY, [part.encode() for part in leaf.parts])),
        (4, I32, _SNAPPY),
        (5, I64, sum(page.values for page in data)),
        (6, I64, sum(page.unpacked for page in chunk)),
        (7, I64, chunk[-1].end - chunk[0].start),
        (9, I64, data[0].start),
    ]
    if chunk[0].kind == _DICTIONARY:
        fields.append((11, I64, chunk[0].start))
    return write_struct([(2, I64, chunk[0].start), (3, STRUCT, write_struct(fields))])


def _readable(content: bytes) -> int:
    """How many of the row groups pyarrow can read whole, from the first on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(content)) as parquet:
        for number in range(parquet.num_row_groups):
            try:
                parquet.read_row_group(number, use_threads=False).validate(full=True)
            except (pa.ArrowException, OSError):
                return number
        return int(parquet.num_row_groups)
