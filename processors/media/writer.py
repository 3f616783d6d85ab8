"""Writing videos: one stream, constant rate, time stamps that are exact.

The stream is left untagged (no colour primaries, no matrix), BT.601 and limited range unless told otherwise, as
LeRobot writes and reads its videos. The container's clock is the frame rate itself, so frame k lies at k / rate to
the last digit, fractions like 33360/1411 included.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import av
from av.video.reformatter import ColorRange

from ..errors import EpisodedError
from .video import from_av_error

if TYPE_CHECKING:
    from collections.abc import Mapping
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
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException as error:
            self._abandon()
            if isinstance(error, av.error.FFmpegError):
                raise self._failure(error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
        except av.error.FFmpegError as failure:
            self._abandon()
            raise self._failure(failure) from failure
        self._container = self._stream = None

    def write(self, frame: VideoFrame) -> None:
        """Encode the next frame: the writer's size and pixel format, whatever its own time stamp and type."""
        frame.pts = self.frames
        frame.time_base = 1 / self._rate
        frame.pict_type = 0  # a decoded frame's type I would force a keyframe
        try:
            self._mux(self._stream.encode(frame))
        except av.error.FFmpegError as error:
            raise self._failure(error) from error
        self.frames += 1

    def _open(self) -> None:
        encoding = self._encoding
        if encoding.codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # it prints its settings to stderr otherwise, past libav's log
        # The index goes to the front at the end, so that a browser or a remote loader can start at once.
        muxer = {"movflags": "+faststart"} if self._container_name == "mp4" else {}
        self._container = av.open(f"file:{self.path}", "w", format=self._container_name, options=muxer)
        stream = self._stream = self._container.add_stream(
            encoding.codec, rate=self._rate, options=dict(encoding.options)
        )
        stream.width, stream.height = self._size
        stream.pix_fmt = encoding.pix_fmt
        context = stream.codec_context
        context.time_base = 1 / self._rate
        context.thread_count = encoding.threads
        context.thread_type = "FRAME" if encoding.frame_threads else "SLICE"
        if encoding.full_range:
            context.color_range = ColorRange.JPEG

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if not self.library and (found := _SIGNATURE.search(bytes(packet)[:256])):
                self.library = found.group().decode("ascii", "replace")
            self._container.mux(packet)

    def _abandon(self) -> None:
        """Close what is open without completing it, and remove the file."""
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            with suppress(av.error.FFmpegError):  # the failure that led here is the one to report
                container.close()
            self.path.unlink(missing_ok=True)

    def _failure(self, error: av.error.FFmpegError) -> EpisodedError:
        encoding = self._encoding
        settings = " ".join(f"{key}={value}" for key, value in encoding.options.items())
        width, height = self._size
        what = f"{encoding.codec} ({settings}, {encoding.pix_fmt}, {width}x{height}, {self._rate} fps)"
        refused = EpisodedError(
            "encoder_failed",
            f"{what} failed at frame {self.frames}: {error.strerror}",
            "change the encode settings of the pipeline (profile, pix_fmt, options), then retry",
        )
        return from_av_error(error, refused)
