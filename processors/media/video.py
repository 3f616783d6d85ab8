"""Reading videos: what a file holds, and its frames one after another.

Nothing that a file says about itself is believed: one of the real files this was tried on claims 5544 frames in its
header, decodes to none and raises nothing; another gives 8 frames and then an error. Counts come from the packets,
and `frames` is the only proof that a video can be decoded.
"""

from __future__ import annotations

import errno
from array import array
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from ..errors import EpisodedError, InputError, from_os_error
from .lfs import refuse_pointer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from av.video.frame import VideoFrame

_START = Fraction(0)
_EARLY_S = Fraction(1, 2000)
_RECODE = "restore this video from where it was recorded, or its PNG frames so that it is encoded again; then retry"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file holds, as libav reads it.

    `codec` is the canonical name (`h264`, `av1`, `hevc`), as LeRobot writes it into `video.codec`. `fps` is the
    average rate, in frames per second, 0 where the file gives none; `frames` the number of packets, i.e. of pictures
    that it should decode to. `headers` are the codec's parameter sets: two files with the same can be joined without
    encoding.
    """

    width: int
    height: int
    codec: str
    pix_fmt: str
    fps: Fraction
    frames: int
    has_audio: bool
    full_range: bool
    headers: bytes


def probe(path: Path) -> VideoInfo:
    """Read the headers and packet list of a video; nothing is decoded (4 ms for 300 frames).

    Raises `InputError` naming the file: `lfs_pointer`, `video_empty`, `video_unreadable`; and the `from_os_error`
    family for what the system says.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        with reading(path, "its packets cannot be read"):
            packets = sum(1 for packet in container.demux(stream) if packet.size)
        context = stream.codec_context
        return VideoInfo(
            width=stream.width,
            height=stream.height,
            codec=stream.codec.canonical_name,
            pix_fmt=context.pix_fmt or "",
            fps=Fraction(stream.average_rate or 0),
            frames=packets,
            has_audio=bool(container.streams.audio),
            full_range=(context.pix_fmt or "").startswith("yuvj") or context.color_range == _FULL_RANGE,
            headers=bytes(context.extradata or b""),
        )


def frames(
    path: Path, threads: int = 1, *, slices: bool = False, start_s: Fraction = _START, strict: bool = False
) -> Generator[VideoFrame, None, None]:
    """Decode a video to its last frame, holding one frame at a time: from the first, or from `start_s` seconds on.

    A frame up to half a millisecond early counts as one at `start_s`. `threads` above 1 decodes frames in parallel, or
    with `slices` the slices of a frame (FFV1). The file is closed when the iterator is exhausted or closed. Raises as
    `probe` does, and `video_unreadable` with the number of frames that were good when decoding fails on the way.

    libav paints over what is damaged inside of a frame, and goes on: 4,000 random bytes in the middle of an H.264 video
    gave every frame and no error. With `strict` that is a failure too, as far as the codec notices it.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        if strict:
            stream.codec_context.options = {"err_detect": "explode"}
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "FRAME" if threads > 1 and not slices else "SLICE"
        if start_s:
            with reading(path, f"{float(start_s):g} s cannot be found in it"):
                container.seek(int(start_s / stream.time_base), stream=stream)  # to the keyframe before
        decoded, good = container.decode(stream), 0
        while True:
            with reading(path, f"decoding fails after {good} good frames"):
                frame = next(decoded, None)
            if frame is None:
                return
            if not start_s or _begins(frame, start_s):
                yield frame
            good += 1


def _begins(frame: VideoFrame, start_s: Fraction) -> bool:
    """Whether a frame lies at or behind `start_s`; one without a time does, so that somebody will object to it."""
    return frame.pts is None or frame.time_base is None or frame.pts * frame.time_base >= start_s - _EARLY_S


def stamps(path: Path) -> tuple[array[float], Fraction]:
    """(when each frame should be shown, in seconds and in order; stated rate), by the packets: nothing is decoded.

    Empty where a packet has no time. Raises as `probe`.
    """
    with opened_stream(path) as (container, stream):
        with reading(path, "its packets cannot be read"):
            found = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        known = [] if None in found else sorted(found)
        return array("d", (float(pts * stream.time_base) for pts in known)), Fraction(stream.average_rate or 0)


def from_av_error(error: av.error.FFmpegError, path: Path, otherwise: EpisodedError) -> EpisodedError:
    """The failure of the system behind a libav error (a full disk, no permission), or `otherwise` if there is none."""
    number = error.errno or 0
    # libav uses EINVAL for settings and files that it dislikes: that one is not the system's word.
    if number in errno.errorcode and number != errno.EINVAL:
        return from_os_error(OSError(number, error.strerror, str(path)))
    return otherwise


@contextmanager
def opened_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, its video stream) of a file, to be read packet by packet. Raises as `probe`."""
    with _opened(path) as container:
        yield container, _video_stream(container, path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise from_os_error(error) from error
    refuse_pointer(start, path)
    if not start:
        raise InputError("video_empty", f"{path} is empty", _RECODE)
    with reading(path, "it is damaged, or not a video"):
        # "file:" keeps libav from taking a colon in a relative name for a protocol.
        container = av.open(f"file:{path}", metadata_errors="replace")
    with container:
        yield container


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise InputError("video_unreadable", f"{path} holds no video stream", _RECODE)
    stream = container.streams.video[0]
    if stream.codec is None or stream.codec_context is None:
        raise InputError("video_unreadable", f"{path} is in a codec that cannot be decoded here", _RECODE)
    return stream


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """What libav says of a file that is being read, as an `InputError` (`video_unreadable`) naming it."""
    try:
        yield
    except av.error.FFmpegError as error:
        unreadable = InputError("video_unreadable", f"{path}: {what} ({error.strerror})", _RECODE)
        raise from_av_error(error, path, unreadable) from error


_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
