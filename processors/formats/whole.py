"""Whether a file looks whole, judged by its ends: a few bytes, not a check of its content.

A soft sign that a file is still being written or copied; the stage that reads the content has the last word.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, Final

from ..media.lfs import POINTER
from ..media.pipes import without_waiting
from ..media.tiff import layout_of

if TYPE_CHECKING:
    from pathlib import Path

_IEND: Final = bytes.fromhex("0000000049454e44ae426082")
_PARQUET: Final = b"PAR1"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: Version of the superblock -> where it says how long the file is.
_END_OF_HDF5: Final = {0: 40, 2: 28, 3: 28}
_SMALLEST_PARQUET: Final = 12  # both marks and the length of a footer: a file that was only begun has one mark
_BOX_HEADER: Final = 8
_LARGEST_POINTER: Final = 1024


def png_ends(path: Path) -> bool:
    """Whether the file ends in the closing chunk of a PNG."""
    return _tail(path, len(_IEND)) == _IEND


def tiff_ends(path: Path) -> bool:
    """Whether the pixels of a depth frame lie inside of the file."""
    return not isinstance(layout_of(path.read_bytes()), str)


def parquet_ends(path: Path) -> bool:
    """Whether the file ends as a parquet file does: its footer is written last."""
    return path.stat().st_size > _SMALLEST_PARQUET and _tail(path, len(_PARQUET)) == _PARQUET


def is_closed(parquet: bytes) -> bool:
    """The same of the content of a file."""
    return len(parquet) > _SMALLEST_PARQUET and parquet.endswith(_PARQUET)


def mp4_ends(path: Path) -> bool:
    """Whether the boxes of an MP4 fill the file exactly and one of them is `moov`, the index to all others."""
    size = path.stat().st_size
    with _opened(path) as file:
        offset, indexed = 0, False
        while offset < size:
            length, kind = _box_at(file, offset, size)
            if length < _BOX_HEADER or offset + length > size:
                return False
            indexed |= kind == b"moov"
            offset += length
    return indexed


def h5_ends(path: Path) -> bool:
    """Whether the file is as long as the superblock of an HDF5 file says (version 0, 2 or 3, with 8-byte addresses)."""
    size = path.stat().st_size
    with _opened(path) as file:
        start = file.read(64)
    if len(start) < 48 or not start.startswith(_HDF5):
        return False
    version, eof_at = start[8], _END_OF_HDF5.get(start[8])
    sizes = start[13] if version == 0 else start[9]
    if eof_at is None or sizes != 8:
        return True  # not ours to judge: the stage that reads it does
    return bool(struct.unpack_from("<Q", start, eof_at)[0] <= size)


def json_ends(path: Path) -> bool:
    """Whether the last thing in the file closes an object or a list."""
    return _tail(path, 16).rstrip().endswith((b"}", b"]"))


def mp4_cut_off(path: Path) -> bool:
    """Whether a box of an MP4 reaches beyond the end of the file: the rest of it is missing."""
    size = path.stat().st_size
    with _opened(path) as file:
        offset = 0
        while offset < size:
            length, _ = _box_at(file, offset, size)
            if length < _BOX_HEADER:
                return False  # no box at all: whoever decodes it will say what it is
            if offset + length > size:
                return True
            offset += length
    return False


def is_pointer(path: Path) -> bool:
    """Whether a Git LFS pointer lies where the file should (a clone without `git lfs pull`)."""
    if path.stat().st_size > _LARGEST_POINTER:
        return False
    with _opened(path) as file:
        return file.read(len(POINTER)) == POINTER


def _opened(path: Path) -> BinaryIO:
    return open(path, "rb", opener=without_waiting)


def _tail(path: Path, length: int) -> bytes:
    with _opened(path) as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - length))
        return file.read(length)


def _box_at(file: BinaryIO, offset: int, size: int) -> tuple[int, bytes]:
    """Length in bytes and type of the box at `offset`; length 0 when there is no header."""
    file.seek(offset)
    header = file.read(_BOX_HEADER)
    if len(header) < _BOX_HEADER:
        return 0, b""
    length, kind = struct.unpack(">I4s", header)
    if length == 1:  # the length follows as 64 bits
        wide = file.read(8)
        length = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 0
    elif length == 0:  # to the end of the file
        length = size - offset
    return length, kind
