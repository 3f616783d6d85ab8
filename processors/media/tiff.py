"""Depth frames as LeRobot 0.6 and later leaves them until they are encoded: TIFF files of one uncompressed plane.

Its recorder writes them with Pillow: 16-bit millimetres, or 32-bit floating-point metres. Nothing else of the format
is read here, and nothing is taken on trust: the strips must hold every row, and lie inside of the file.

TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError, from_os_error
from .lfs import refuse_pointer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _FORMAT = 256, 257, 258, 259, 277, 339
_OFFSETS, _COUNTS = 273, 279
#: Type of a value -> struct code; only those with which sizes and offsets are written.
_TYPES: Final = {3: "H", 4: "I"}
#: (sample format, bits) -> dtype: unsigned millimetres, floating-point metres.
_DTYPES: Final = {(1, 16): "u2", (3, 32): "f4"}
_MOST_TAGS: Final = 1000

_AGAIN: Final = "copy this frame again from where it was recorded, then retry; nothing of the episode was removed"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the picture is in the file: `strips` are (offset, bytes); `dtype` in numpy's notation, with byte order."""

    width: int
    height: int
    dtype: str
    strips: tuple[tuple[int, int], ...]


def layout_of(content: bytes) -> Layout | str:
    """Where the picture lies in the content of a TIFF file, or what is wrong with it, in words."""
    try:
        tags, order = _tags(content)
        width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
        samples, compression = tags.get(_SAMPLES, (1,))[0], tags.get(_COMPRESSION, (1,))[0]
        kind = (tags.get(_FORMAT, (1,))[0], tags.get(_BITS, (1,))[0])
        strips = tuple(zip(tags[_OFFSETS], tags[_COUNTS], strict=True))
    except (struct.error, KeyError, ValueError):
        return "is damaged, or no TIFF file"
    if samples != 1 or compression != 1 or kind not in _DTYPES:
        return f"is no plain depth frame ({samples} samples of {kind[1]} bits, compression {compression})"
    layout = Layout(width, height, order + _DTYPES[kind], strips)
    due = width * height * kind[1] // 8
    if not due or sum(size for _, size in strips) != due or any(start + size > len(content) for start, size in strips):
        return f"ends early: {len(content)} bytes do not hold its {width}x{height} pixels"
    return layout


def read_depth(path: Path, index: int = 0) -> NDArray[Any]:
    """One frame (H, W): uint16 in millimetres, or float32 in metres; 0 or NaN is no reading.

    Raises InputError naming the file and `index`: `lfs_pointer`, `tiff_damaged`; and the `from_os_error` family.
    """
    import numpy as np

    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os_error(error) from error
    refuse_pointer(content[:64], path)
    layout = layout_of(content)
    if isinstance(layout, str):
        raise InputError("tiff_damaged", f"frame {index} ({path}) {layout}", _AGAIN)
    rows = b"".join(content[start : start + size] for start, size in layout.strips)
    picture = np.frombuffer(rows, layout.dtype).reshape(layout.height, layout.width)
    return picture.astype(picture.dtype.newbyteorder("="), copy=False)


def write_depth(path: Path, picture: NDArray[Any]) -> None:
    """Write a frame (H, W), uint16 or float32, as one strip."""
    height, width = picture.shape
    floating, bits = picture.dtype.kind == "f", picture.dtype.itemsize * 8
    tags = [
        (_WIDTH, width),
        (_HEIGHT, height),
        (_BITS, bits),
        (_COMPRESSION, 1),
        (262, 1),  # 0 is black
        (_OFFSETS, 8 + 2 + 10 * 12 + 4),
        (_SAMPLES, 1),
        (278, height),  # rows in a strip
        (_COUNTS, picture.nbytes),
        (_FORMAT, 3 if floating else 1),
    ]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    path.write_bytes(head + directory + bytes(4) + picture.astype(picture.dtype.newbyteorder("<")).tobytes())


def _tags(content: bytes) -> tuple[dict[int, tuple[int, ...]], str]:
    """The values of the first directory by tag, and the byte order."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2], "")
    magic, at = struct.unpack_from(f"{order}HI", content, 2)
    if not order or magic != 42:
        raise ValueError
    (count,) = struct.unpack_from(f"{order}H", content, at)
    tags = {}
    for number in range(min(count, _MOST_TAGS)):
        tag, kind, length = struct.unpack_from(f"{order}HHI", content, at + 2 + 12 * number)
        if code := _TYPES.get(kind):
            place, size = at + 10 + 12 * number, length * struct.calcsize(f"{order}{code}")
            if size > 4:
                (place,) = struct.unpack_from(f"{order}I", content, place)
            if size > len(content):
                raise ValueError
            tags[tag] = struct.unpack_from(f"{order}{length}{code}", content, place)
    return tags, order
