"""Depth videos without loss: FFV1 level 3, one plane of 16 bits, Matroska, every frame on its own.

FFV1 is the smallest of the bit-exact ways (a depth frame of 640x480 takes 45 to 107 KiB, as PNG 68 to 171), and read
by every FFmpeg since 2013. Two things it does not do: a flipped byte is no error to libav, the frame is concealed and
only the log tells; and its container knows times in whole milliseconds and the rate to a nanosecond a frame. So the
CRC32 of each frame's raw samples and the exact rate are kept beside it (`depth/meta.py`).
"""

from __future__ import annotations

import zlib
from array import array
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import av
import numpy as np
from av.video.frame import VideoFrame

from ..errors import EpisodedError, InputError, from_os_error
from . import video
from .pixels import plane
from .writer import Encoding, OutputFile, VideoWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from fractions import Fraction
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

PIX_FMT: Final = "gray16le"
#: What older pipelines wrote: the low byte as blue, the high byte as green.
SPLIT_FORMATS: Final = ("bgra", "bgr0", "gbrp")
_FEW_PIXELS: Final = 320 * 240


def encoding(height: int, width: int, threads: int = 1) -> Encoding:
    """FFV1 as depth is written here: intra only, a CRC in each slice, 16 slices (4 below 320x240) for the threads."""
    slices = "4" if height * width < _FEW_PIXELS else "16"
    options = {"level": "3", "g": "1", "slices": slices, "slicecrc": "1", "context": "1"}
    return Encoding("ffv1", options, PIX_FMT, threads, frame_threads=False)


class DepthWriter:
    """Writes frames of 16-bit samples to a Matroska file; a context manager like `VideoWriter`, with its errors.

    `crc32` holds the CRC32 of each frame's raw samples (rows top to bottom, little endian) as they were given.
    """

    def __init__(self, path: Path, *, height: int, width: int, rate: Fraction, threads: int = 1) -> None:
        self.crc32 = array("I")
        self._writer = _PacketWriter(
            path, encoding(height, width, threads), width=width, height=height, rate=rate, container="matroska"
        )

    @property
    def headers(self) -> bytes:
        """What a `Decoder` needs besides the packets."""
        return self._writer.headers

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def write(self, samples: NDArray[np.uint16]) -> bytes:
        """Encode the next frame, (H, W); its packet, as it goes into the file."""
        samples = np.ascontiguousarray(samples, dtype="<u2")
        self._writer.write(VideoFrame.from_ndarray(samples, format=PIX_FMT))
        self.crc32.append(crc32(samples))
        return self._writer.last


class _PacketWriter(VideoWriter):
    """Keeps the packet that it wrote last: FFV1 makes one of each frame, at once."""

    last = b""

    def _mux(self, packet: Any) -> None:
        self.last = bytes(packet)
        super()._mux(packet)


class Decoder:
    """Decodes the packets of one depth video, each by itself, without its file. `headers`: of its writer."""

    def __init__(self, headers: bytes, *, height: int, width: int, threads: int = 1) -> None:
        self._context: Any = av.CodecContext.create("ffv1", "r")
        self._context.extradata = headers
        self._context.height, self._context.width = height, width
        self._context.thread_count, self._context.thread_type = threads, "SLICE"

    def __call__(self, packet: bytes) -> NDArray[np.uint16]:
        """The samples of a frame, (H, W). Raises `av.error.FFmpegError` for what cannot be decoded."""
        (frame,) = self._context.decode(av.Packet(packet))
        samples: NDArray[np.uint16] = frame.to_ndarray()
        return samples


def packets(path: Path, headers: bytes) -> Iterator[bytes]:
    """The packets of a depth video as they lie in its file; nothing is decoded.

    Raises as `media.video.frames`, and EpisodedError (`depth_unjoinable`) where the file has other `headers`.
    """
    with video.opened_stream(path) as (container, stream):
        if bytes(stream.codec_context.extradata or b"") != headers:
            raise _other_settings(path)
        with video.reading(path, "its packets cannot be read"):
            yield from (bytes(packet) for packet in container.demux(stream) if packet.size)


def crc32(samples: NDArray[np.uint16]) -> int:
    """CRC32 of one frame's raw samples, rows top to bottom, little endian."""
    return zlib.crc32(np.ascontiguousarray(samples, dtype="<u2").tobytes())


def read(path: Path, threads: int = 1) -> Iterator[NDArray[np.uint16]]:
    """The samples of a depth video frame after frame, (H, W) uint16.

    Also reads the FFV1 of older pipelines, whose samples are split into the low byte as blue and the high one as green.
    Raises as `media.video.frames`, and InputError (`depth_format`) for a video that holds no 16-bit samples. That a
    frame is as it was written is not known without its CRC32: see `depth.reader.read_depth`.
    """
    for number, frame in enumerate(video.frames(path, threads, slices=True)):
        yield _samples(frame, path, number)


def join(
    segments: Sequence[Path], path: Path, *, height: int, width: int, rate: Fraction, tags: Mapping[str, str]
) -> None:
    """Write the frames of `segments` one after another into `path`, as they are: packets are copied, nothing encoded.

    The segments come from `DepthWriter` with the same size and rate. `tags` go into the file's metadata. The same
    segments give the same bytes. Raises EpisodedError (`depth_unjoinable`) for segments that were encoded otherwise,
    and what the system says.
    """
    with _system(path), closing(OutputFile(path)) as file:
        target: Any = av.open(file, "w", format="matroska", options={"fflags": "+bitexact"})
        complete = False
        try:
            target.metadata.update(tags)
            _copy_packets(segments, target, _stream_for(target, encoding(height, width), height, width, rate), rate)
            complete = True
        finally:
            with nullcontext() if complete else suppress(av.error.FFmpegError, OSError):
                target.close()  # of a failure, the one that led here is the one to report


def _stream_for(target: Any, encoding: Encoding, height: int, width: int, rate: Fraction) -> Any:
    """A stream with the headers of an encoder: one made from a segment would only know the rate to a millisecond."""
    stream = target.add_stream(encoding.codec, rate=rate, options=dict(encoding.options))
    stream.width, stream.height, stream.pix_fmt = width, height, encoding.pix_fmt
    stream.codec_context.time_base = 1 / rate
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.open()
    return stream


def _copy_packets(segments: Sequence[Path], target: Any, stream: Any, rate: Fraction) -> None:
    number = 0
    for segment in segments:
        with av.open(f"file:{segment}") as source:
            given: Any = source.streams.video[0]
            if bytes(given.codec_context.extradata or b"") != bytes(stream.codec_context.extradata):
                raise _other_settings(segment)
            for packet in source.demux(given):
                if packet.size:
                    packet.stream, packet.time_base = stream, 1 / rate
                    packet.pts = packet.dts = number
                    packet.duration = 1
                    target.mux(packet)
                    number += 1


def _other_settings(path: Path) -> EpisodedError:
    message = f"{path} was encoded with other settings than the file it belongs to"
    return EpisodedError("depth_unjoinable", message, "make the depth of this camera again")


@contextmanager
def _system(path: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        refused = EpisodedError("depth_unjoinable", f"{path}: {error.strerror}", "make the depth of this camera again")
        raise video.from_av_error(error, path, refused) from error
    except OSError as error:
        raise from_os_error(error) from error


def _samples(frame: VideoFrame, path: Path, number: int) -> NDArray[np.uint16]:
    name = frame.format.name
    if name == PIX_FMT:
        samples: Any = frame.to_ndarray()
        native: NDArray[np.uint16] = samples.astype(np.uint16, copy=False)
        return native
    if name in SPLIT_FORMATS:
        split = frame if name != "gbrp" else frame.reformat(format="bgra")
        two_bytes = np.ascontiguousarray(plane(split, channels=4)[..., :2])
        joined: NDArray[np.uint16] = two_bytes.view("<u2")[..., 0].astype(np.uint16)
        return joined
    raise InputError(
        "depth_format",
        f"frame {number} of {path} is {name}: no 16-bit depth ({PIX_FMT}), nor one split into two bytes",
        "only the files of the depth stage, and FFV1 with the low byte as blue and the high byte as green, are depth",
    )
