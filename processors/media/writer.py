"""Writing videos: one stream, constant rate, time stamps that are exact.

The stream is left untagged (no colour primaries, no matrix), BT.601 and limited range unless told otherwise, as
LeRobot writes and reads its videos. The container's clock is the frame rate itself, so frame k lies at k / rate to
the last digit, fractions like 33360/1411 included.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import av
from av.video.reformatter import ColorRange

from ..errors import EpisodedError, from_os_error
from .video import from_av_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from fractions import Fraction
    from pathlib import Path
    from types import TracebackType

    from av.video.frame import VideoFrame

_SIGNATURE = re.compile(rb"x26[45] [-(][^\0]{0,60}?(?:core|build) \d+[^\0]{0,20}?(?= -|\0)")
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoder to open: its libavcodec name, private options, pixel format of the stream, and how it may use threads.

    `frame_threads`: work on several frames at once. PyAV's default is slices, with which x264 blocks for each frame,
    takes 1.3 times as long and writes 1.3 % more; FFV1 is the one that wants slices.
    """

    codec: str
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    threads: int = 1
    frame_threads: bool = True
    full_range: bool = False


class OutputFile:
    """The file as libav writes it, through an object of ours.

    PyAV leaks the descriptor when the very first write fails, as it does on a full disk. And libav takes a short write
    for a whole one: here every byte is written, or the system's error is raised.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"file:{path}"  # the index is moved to the front through a second, named, opening
        self._file = path.open("wb", buffering=0)
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(data)


class VideoWriter:
    """Writes frames to a video file; a context manager.

    Leaving it normally flushes the encoder and completes the file; leaving it by an exception removes the file. The
    file is not synced: whoever publishes it does that. `rate` is in frames per second.
    Raises `DiskFullError` and its family, and `EpisodedError` (`encoder_failed`) when the encoder refuses.
    """

    def __init__(
        self, path: Path, encoding: Encoding, *, width: int, height: int, rate: Fraction, container: str = "mp4"
    ) -> None:
        self.path = path
        self.frames = 0
        self.library = ""
        self._encoding = encoding
        self._rate = rate if rate.numerator <= _LARGEST else rate.limit_denominator(1_000_000)
        self._size = (width, height)
        self._container_name = container
        self._output: Any = None
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._abandon()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._abandon()

    def write(self, frame: VideoFrame) -> None:
        """Encode the next frame: the writer's size and pixel format, whatever its own time stamp and type."""
        frame.pts = self.frames
        frame.time_base = 1 / self._rate
        frame.pict_type = 0  # a decoded frame's type I would force a keyframe
        self._encode(frame)
        self.frames += 1

    @property
    def headers(self) -> bytes:
        """The codec's parameter sets, as they stand in the file."""
        return bytes(self._stream.codec_context.extradata or b"")

    def _open(self) -> None:
        encoding = self._encoding
        if encoding.codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # it prints its settings to stderr otherwise, past libav's log
        # The index goes to the front at the end, so that a browser or a remote loader can start at once.
        # Matroska gives each file a random name of its own unless told that the same input shall give the same bytes.
        muxer = {"movflags": "+faststart"} if self._container_name == "mp4" else {"fflags": "+bitexact"}
        with self._system():
            self._output = OutputFile(self.path)
            self._container = av.open(self._output, "w", format=self._container_name, options=muxer)
        with self._encoder():
            self._stream = self._container.add_stream(encoding.codec, rate=self._rate, options=dict(encoding.options))
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = encoding.pix_fmt
            self._open_encoder(self._stream.codec_context)

    def _open_encoder(self, context: Any) -> None:
        encoding = self._encoding
        context.time_base = 1 / self._rate
        context.thread_count = encoding.threads
        context.thread_type = "FRAME" if encoding.frame_threads else "SLICE"
        if encoding.full_range:
            context.color_range = ColorRange.JPEG
        context.open()
        if context.options:  # what no part of libav took: a typing error would otherwise pass without a word
            raise self._refused(f"unknown option {', '.join(context.options)}")

    def _complete(self) -> None:
        """Flush the encoder, finish the file and close everything."""
        self._encode(None)
        with self._system():
            self._container.close()
            self._container = self._stream = None
            self._output.close()
            self._output = None

    def _encode(self, frame: VideoFrame | None) -> None:
        with self._encoder():
            packets = self._stream.encode(frame)
        for packet in packets:
            if not self.library and (found := _SIGNATURE.search(bytes(packet)[:256])):
                self.library = found.group().decode("ascii", "replace")
            self._mux(packet)

    def _mux(self, packet: Any) -> None:
        with self._system():
            self._container.mux(packet)

    def _abandon(self) -> None:
        """Close what is still open without completing it, and remove the file."""
        container, output = self._container, self._output
        self._container = self._stream = self._output = None
        if container is not None:
            with suppress(av.error.FFmpegError, OSError):  # the failure that led here is the one to report
                container.close()
        if output is not None:
            output.close()
            self.path.unlink(missing_ok=True)

    @contextmanager
    def _system(self) -> Iterator[None]:
        """For what touches the file: the system's errors as they are."""
        try:
            yield
        except av.error.FFmpegError as error:
            raise from_av_error(error, self.path, self._refused(error.strerror)) from error
        except OSError as error:
            raise from_os_error(OSError(error.errno, error.strerror, str(self.path))) from error

    @contextmanager
    def _encoder(self) -> Iterator[None]:
        """For what touches the encoder: NVENC without a driver says "operation not permitted", and means settings."""
        try:
            yield
        except (av.error.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            raise self._refused(getattr(error, "strerror", None) or "no such encoder") from error

    def _refused(self, reason: str | None) -> EpisodedError:
        encoding = self._encoding
        settings = " ".join(f"{key}={value}" for key, value in encoding.options.items())
        width, height = self._size
        what = f"{encoding.codec} ({settings}, {encoding.pix_fmt}, {width}x{height}, {self._rate} fps)"
        return EpisodedError(
            "encoder_failed",
            f"{what} failed at frame {self.frames}: {reason}",
            "change the encode settings of the pipeline (profile, pix_fmt, options), then retry",
        )
