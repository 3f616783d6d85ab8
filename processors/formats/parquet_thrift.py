"""The Thrift compact protocol, as far as parquet uses it: page headers are read with it, footers written.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TRUE: Final = 1
FALSE: Final = 2
BYTE: Final = 3
I16: Final = 4
I32: Final = 5
I64: Final = 6
DOUBLE: Final = 7
BINARY: Final = 8
LIST: Final = 9
SET: Final = 10
STRUCT: Final = 12

_DEEPEST: Final = 16
_LONGEST_LIST: Final = 1 << 20


class NotThrift(ValueError):  # noqa: N818 - says what the bytes are
    """These bytes are no structure of this protocol."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a structure: `value` as int, float, bytes, list or dict of fields; its bytes lie in `start:end`."""

    kind: int
    value: Any
    start: int
    end: int


def read_struct(data: bytes | memoryview, at: int = 0) -> tuple[dict[int, Field], int]:
    """The fields of the structure at offset `at` by number, and the offset behind it. Raises NotThrift."""
    try:
        return _struct(data, at, 0)
    except (IndexError, struct.error) as error:
        raise NotThrift("ends in the middle") from error


#: Number, kind and value of a field to be written; a `bytes` value of any kind but BINARY is written as it is.
Written = tuple[int, int, Any]


def write_struct(fields: Sequence[Written]) -> bytes:
    """A structure of these fields, whose numbers ascend."""
    parts, last = [], 0
    for number, kind, value in fields:
        parts.append(bytes([((number - last) << 4) | kind]) + _value(kind, value))
        last = number
    return b"".join(parts) + b"\0"


def write_list(kind: int, values: Sequence[Any]) -> bytes:
    """A list of values of one kind."""
    size = len(values)
    head = bytes([(size << 4) | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)
    return head + b"".join(_value(kind, value) for value in values)


def _value(kind: int, value: Any) -> bytes:
    if kind == BINARY:
        return _varint(len(value)) + bytes(value)
    if isinstance(value, bytes):
        return value
    return _varint((value << 1) ^ (value >> 63))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    return bytes([*out, number])


def _struct(data: bytes | memoryview, at: int, depth: int) -> tuple[dict[int, Field], int]:
    if depth > _DEEPEST:
        raise NotThrift("nested too deep")
    fields: dict[int, Field] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        value, end = _read(data, at, head & 0x0F, depth)
        fields[number] = Field(head & 0x0F, value, at, end)
        at = end
    return fields, at + 1


def _read(data: bytes | memoryview, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return kind == TRUE, at
    if kind == BYTE:
        return data[at], at + 1
    if kind in (I16, I32, I64):
        return _zigzag(data, at)
    if kind == DOUBLE:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == BINARY:
        size, at = _unsigned(data, at)
        if at + size > len(data):
            raise NotThrift("ends in the middle")
        return bytes(data[at : at + size]), at + size
    if kind in (LIST, SET):
        return _list(data, at, depth)
    if kind == STRUCT:
        return _struct(data, at, depth + 1)
    raise NotThrift(f"there is no kind {kind}")


def _list(data: bytes | memoryview, at: int, depth: int) -> tuple[list[Any], int]:
    size, kind = data[at] >> 4, data[at] & 0x0F
    at += 1
    if size == 15:
        size, at = _unsigned(data, at)
    if size > _LONGEST_LIST:
        raise NotThrift(f"a list of {size}")
    values = []
    for _ in range(size):
        if kind in (TRUE, FALSE):  # in a list they are bytes of their own
            value, at = data[at] == TRUE, at + 1
        else:
            value, at = _read(data, at, kind, depth)
        values.append(value)
    return values, at


def _zigzag(data: bytes | memoryview, at: int) -> tuple[int, int]:
    number, at = _unsigned(data, at)
    return (number >> 1) ^ -(number & 1), at


def _unsigned(data: bytes | memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise NotThrift("a number of more than 64 bits")
