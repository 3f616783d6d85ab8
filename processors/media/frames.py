"""From a PNG file to a frame that an encoder takes, by the shortest way that keeps every pixel.

libdeflate inflates the image data, libavcodec undoes the row filters (it is handed the rows as a PNG of stored
blocks), libswscale converts. At 640x480 that is 3.7 ms of CPU for a frame at compress level 1, against 8.4 ms for
Pillow and `VideoFrame.from_image`, with the same pixels; all of it runs outside the GIL.

Each rule below was learnt from a valid video with wrong pictures in it:

1. The PNG decoder takes a packet that is not marked as a keyframe for a delta and adds the frame before it (9 dB).
2. PNG frames are full range. Without naming both ranges libswscale writes full-range values into a stream that is
   read as limited range (28.6 dB).
3. A decoded frame carries `pict_type` I; encoded as it is, every frame becomes a keyframe (6 times the size).
4. An empty packet drains the decoder: every later good frame fails. A decoder that has seen an error is dropped.
5. Decoder and converter are not shared between threads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any

import av
from av.video.reformatter import VideoReformatter

from ..errors import InputError
from . import png
from .pixels import as_rgb24, plane

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

_CHUNK = Struct(">I4s")
_IHDR = Struct(">IIBBBBB")
_NO_CRC = b"\0\0\0\0"  # verified before; the decoder does not look at it
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera frame, decoded.

    `video` is what the encoder takes (the reader's pixel format, BT.601). `rgb` is (H, W, 3) uint8, exactly the pixels
    that Pillow's `convert("RGB")` gives (alpha dropped, not composited); it is a view of the decoder's memory.
    """

    source: png.Png
    video: VideoFrame
    rgb: NDArray[np.uint8]


class FrameReader:
    """Reads PNG files as frames of one pixel format; one reader serves any number of threads.

    `full_range`: write luma over 0..255 instead of 16..235, for a camera whose earlier videos are like that.
    """

    def __init__(self, pix_fmt: str = "yuv420p", *, full_range: bool = False) -> None:
        _keep_freed_memory()
        self._pix_fmt = pix_fmt
        self._range = "JPEG" if full_range else "MPEG"
        self._local = threading.local()

    def read(self, path: Path, index: int = 0) -> Frame:
        """Read, check, decode and convert one file.

        Raises `InputError` with the codes of `png.read`, naming the file and `index`.
        """
        source = png.read(path, index)
        decoded = as_rgb24(picture := self._decode(source))
        if decoded is None:
            raise _undecodable(source, f"its pixels come as {picture.format.name}")
        return Frame(source, self._convert(decoded), plane(decoded, channels=3))

    def _decode(self, source: png.Png) -> VideoFrame:
        packet = av.Packet(self._rewrapped(source))
        packet.is_keyframe = True  # rule 1
        try:
            frames: list[VideoFrame] = self._decoder().decode(packet)
        except av.error.FFmpegError as error:
            self._local.decoder = None  # rule 4
            raise _undecodable(source, error.strerror or "no reason given") from error
        if len(frames) != 1:
            self._local.decoder = None
            raise _undecodable(source, f"{len(frames)} pictures in it")
        return frames[0]

    def _rewrapped(self, source: png.Png) -> bytes:
        """The same picture as a PNG of header, palette and rows that are stored instead of compressed."""
        rows = png.stored(png.inflate(source))
        header = source.header
        ihdr = _IHDR.pack(
            header.width, header.height, header.bit_depth, header.color_type, 0, 0, int(header.interlaced)
        )
        parts: list[bytes | memoryview] = [png.SIGNATURE, _CHUNK.pack(len(ihdr), b"IHDR"), ihdr, _NO_CRC]
        if source.palette:
            parts += [_CHUNK.pack(len(source.palette), b"PLTE"), source.palette, _NO_CRC]
        parts += [_CHUNK.pack(sum(map(len, rows)), b"IDAT"), *rows, _NO_CRC, _IEND]
        return b"".join(parts)

    def _decoder(self) -> Any:
        decoder = getattr(self._local, "decoder", None)  # rule 5
        if decoder is None:
            decoder = self._local.decoder = av.CodecContext.create("png", "r")
            decoder.thread_count = 1
        return decoder

    def _convert(self, decoded: VideoFrame) -> VideoFrame:
        if not hasattr(self._local, "converter"):
            self._local.converter = VideoReformatter()
        converted: VideoFrame = self._local.converter.reformat(
            decoded,
            format=self._pix_fmt,
            interpolation="BICUBIC",  # FAST_BILINEAR is off by up to 30 levels, and no faster
            src_color_range="JPEG",  # rule 2
            dst_color_range=self._range,
            dst_colorspace="ITU601",
        )
        converted.pict_type = 0  # rule 3: the encoder decides
        return converted


def _keep_freed_memory() -> None:
    """Let the C library reuse the megabytes that each frame takes and frees, instead of giving them back.

    glibc learns its limits from the largest block freed so far (mallopt(3), M_MMAP_THRESHOLD): one block below its
    maximum of 32 MiB teaches it once. Without that a frame costs up to 420 page faults, a fifth of the time it takes
    to read. The block itself is never touched and costs nothing; another C library does not care.
    """
    bytearray((32 << 20) - (64 << 10))


def _undecodable(source: png.Png, reason: str) -> InputError:
    return InputError(
        "png_corrupt",
        f"frame {source.frame} ({source.path}) cannot be decoded: {reason}",
        "copy this frame again from where it was recorded, then retry; nothing of the episode was removed",
    )
