"""PNG files, strictly: what a camera frame must be before one of its pixels is believed.

Every chunk's CRC is checked (0.02 ms a frame): Pillow loads a frame whose data has a wrong CRC without a word, and the
ffmpeg command line encodes a neighbour in place of a truncated frame and still exits with 0. Content that cannot
change a pixel (a broken colour profile, animation chunks, bytes after IEND) is harmless.

Source of the format: W3C, Portable Network Graphics (PNG) Specification, third edition.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, NoReturn

import deflate

from ..errors import InputError
from .lfs import refuse_pointer
from .pipes import without_waiting

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONGEST_SIDE = 16_384  # no video codec here goes beyond

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
_CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x y dx dy

_HEADER = Struct(">IIBBBBB")
_START = Struct(">I4s")
_CRC = Struct(">I")
_IDENTITY = Struct(">II")
_BLOCK = Struct("<BHH")

_RESTORE = "copy this frame again from where it was recorded, then retry; nothing of the episode was removed"


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk: `width` and `height` in pixels, `bit_depth` per channel, colour type as the format numbers it."""

    width: int
    height: int
    bit_depth: int
    color_type: int
    interlaced: bool

    @property
    def has_alpha(self) -> bool:
        """True for the colour types that carry an alpha channel."""
        return self.color_type in (GRAY_ALPHA, RGB_ALPHA)

    @property
    def passes(self) -> list[tuple[int, int]]:
        """(bytes of a row with its filter byte, rows) of each pass that is not empty: one, or the seven of Adam7."""
        grids = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sizes = ((-(-(self.width - x) // dx), -(-(self.height - y) // dy)) for x, y, dx, dy in grids)
        bits = self.bit_depth * _CHANNELS[self.color_type]
        return [(1 + (width * bits + 7) // 8, height) for width, height in sizes if width > 0 and height > 0]


@dataclass(frozen=True, slots=True)
class Png:
    """One PNG file whose structure and checksums are right; its pixels are still compressed.

    `idat` is the zlib stream, `palette` the PLTE content (empty without one), `identity` the lengths and CRCs of
    everything that makes the pixels: two files with the same identity show the same picture.
    """

    path: Path
    frame: int
    header: PngHeader
    palette: bytes
    idat: bytes
    identity: bytes
    transparent: bool
    size: int


def read(path: Path, frame: int = 0) -> Png:
    """Read and check one file.

    Raises `InputError` naming `path` and `frame`: `png_empty`, `png_truncated`, `png_bad_crc`, `png_not_png`,
    `png_corrupt`, `png_16bit`, `lfs_pointer`; and `OSError` as the system gives it.
    """
    with open(path, "rb", buffering=0, opener=without_waiting) as file:
        return parse(file.readall(), path, frame)


def parse(data: bytes, path: Path, frame: int = 0) -> Png:
    """Check the bytes of one file; see `read`."""
    _check_signature(data, path, frame)
    header: PngHeader | None = None
    palette, transparent, parts, identity = b"", False, [], []
    for kind, content, crc in _chunks(data, path, frame):
        if header is None:
            header = _header(kind, content, path, frame)
        elif kind == b"PLTE":
            palette = bytes(content)
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"IDAT":
            parts.append(content)
        if kind in (b"IHDR", b"PLTE", b"IDAT"):
            identity.append(_IDENTITY.pack(len(content), crc))
    if header is None or not parts:
        _refuse("png_corrupt", "has no image data", path, frame)
    if header.color_type == PALETTE and (not palette or len(palette) % 3 or len(palette) > 768):
        _refuse("png_corrupt", "has no usable palette", path, frame)
    return Png(
        path=path,
        frame=frame,
        header=header,
        palette=palette,
        idat=bytes(parts[0]) if len(parts) == 1 else b"".join(parts),
        identity=b"".join(identity),
        transparent=transparent or header.has_alpha,
        size=len(data),
    )


def inflate(png: Png) -> bytearray:
    """The filtered rows of the picture, pass by pass: complete, and with their checksum verified.

    libdeflate takes 1.2 ms for a 640x480 frame where zlib takes 3.8, and lets other threads run meanwhile.
    Raises `InputError` (`png_corrupt`) when the stream is damaged or holds more or less than the picture needs.
    """
    passes = png.header.passes
    expected = sum(row_size * height for row_size, height in passes)
    if expected > 1032 * len(png.idat):  # what deflate can reach at most: no memory for a header that lies
        _refuse("png_corrupt", f"holds too little data for {_size(png.header)}", png.path, png.frame)
    try:
        rows = deflate.zlib_decompress(png.idat, expected)
    except (deflate.DeflateError, ValueError) as error:
        _refuse("png_corrupt", f"has damaged image data ({error})", png.path, png.frame)
    if len(rows) != expected:
        _refuse("png_corrupt", f"holds too little data for {_size(png.header)}", png.path, png.frame)
    # libavcodec decodes a row with an unknown filter number to whatever lay in memory, without an error.
    start = 0
    for row_size, height in passes:
        end = start + row_size * height
        if max(rows[start:end:row_size]) > 4:
            _refuse("png_corrupt", "has a row with an unknown filter", png.path, png.frame)
        start = end
    return rows


def _check_signature(data: bytes, path: Path, frame: int) -> None:
    if not data:
        _refuse("png_empty", "is empty: its writer was killed or the upload stopped", path, frame)
    refuse_pointer(data, path)
    if data.startswith(SIGNATURE):
        return
    if SIGNATURE.startswith(data):
        _refuse("png_truncated", "ends inside its signature", path, frame)
    if not data.strip(b"\0"):
        _refuse("png_corrupt", "holds nothing but zeros: it was being written when the power went", path, frame)
    what = "is a JPEG" if data.startswith(b"\xff\xd8\xff") else "does not begin like a PNG"
    _refuse("png_not_png", what, path, frame, "record the camera as PNG; other image types are not accepted")


def _chunks(data: bytes, path: Path, frame: int) -> list[tuple[bytes, memoryview, int]]:
    """(type, content, crc) of each chunk up to IEND, with every CRC verified."""
    view, position = memoryview(data), len(SIGNATURE)
    found: list[tuple[bytes, memoryview, int]] = []
    while True:
        if position + 12 > len(data):
            _refuse("png_truncated", f"ends after {len(data)} bytes, before its end mark", path, frame)
        length, kind = _START.unpack_from(data, position)
        if not (kind.isascii() and kind.isalpha()):
            _refuse("png_corrupt", f"has nonsense at byte {position}, where a chunk should begin", path, frame)
        end = position + 8 + length
        if end + 4 > len(data):
            _refuse("png_truncated", f"ends after {len(data)} bytes, inside chunk {kind.decode()}", path, frame)
        (crc,) = _CRC.unpack_from(data, end)
        if deflate.crc32(view[position + 4 : end]) != crc:
            _refuse("png_bad_crc", f"has a wrong checksum in chunk {kind.decode()}", path, frame)
        if kind == b"IEND":
            return found
        found.append((kind, view[position + 8 : end], crc))
        position = end + 4


def _header(kind: bytes, content: memoryview, path: Path, frame: int) -> PngHeader:
    if kind != b"IHDR" or len(content) != _HEADER.size:
        _refuse("png_corrupt", f"begins with chunk {kind.decode()} instead of a header", path, frame)
    width, height, depth, color, compression, filtering, interlace = _HEADER.unpack(content)
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        _refuse("png_corrupt", f"claims to be {width}x{height}", path, frame)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlace > 1:
        _refuse("png_corrupt", f"has an impossible header (colour type {color}, {depth} bits)", path, frame)
    if depth == 16:
        kind_of = "a depth map" if color == GRAY else "a picture"
        hint = "8 bits per channel make a colour camera; declare depth as a depth camera, so that it is kept losslessly"
        _refuse("png_16bit", f"is {kind_of} of 16 bits per channel", path, frame, hint)
    return PngHeader(width, height, depth, color, bool(interlace))


def same_size(png: Png, first: Png) -> None:
    """Raise `InputError` (`mixed_size`) unless `png` has the dimensions of its camera's `first` frame."""
    here, there = _size(png.header), _size(first.header)
    if here != there:
        what = f"is {here} while the camera's first frame is {there}"
        _refuse("mixed_size", what, png.path, png.frame, "one camera must keep one size; check what wrote this frame")


def stored(rows: bytes | bytearray) -> list[bytes | memoryview]:
    """`rows` as a zlib stream of stored blocks: nothing left to inflate for the decoder that takes it."""
    view = memoryview(rows)
    edges = [*range(0, len(rows), 65_535), len(rows)]
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start, end in pairwise(edges):
        length = end - start
        parts += [_BLOCK.pack(end == len(rows), length, length ^ 0xFFFF), view[start:end]]
    return [*parts, _CRC.pack(deflate.adler32(rows))]


def _size(header: PngHeader) -> str:
    return f"{header.width}x{header.height}"


def _refuse(code: str, what: str, path: Path, frame: int, hint: str = _RESTORE) -> NoReturn:
    raise InputError(code, f"frame {frame} ({path}) {what}", hint)
