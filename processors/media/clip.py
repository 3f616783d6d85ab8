"""A stretch of a video: the frames of one episode, in a file of its own or among those of others."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from .video import opened_stream, reading

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from av.video.frame import VideoFrame

#: How far a frame may lie from its place, in seconds: LeRobot's tolerance.
TOLERANCE: Final = Fraction(1, 10_000)
REPAIR: Final = "`episoded verify` says what is wrong with this video, `episoded repair` what can be done"


@dataclass(frozen=True, slots=True)
class Clip:
    """`frames` frames of the video at `path`, from its frame number `first` on."""

    path: Path
    first: int
    frames: int


def frames_of(clip: Clip, rate: Fraction, threads: int = 1) -> Generator[VideoFrame]:
    """Decode the frames of a clip in order, whether or not it begins at a keyframe; `rate` in frames per second.

    Holds one frame at a time, closes the file when exhausted or closed. Raises InputError: `video_timing`,
    `video_frames` when some are missing, and as `video.frames`.
    """
    with opened_stream(clip.path) as (container, stream):
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "FRAME" if threads > 1 else "SLICE"
        seek(container, stream, clip.first, rate)
        decoded, expected = container.decode(stream), clip.first
        while expected < clip.first + clip.frames:
            with reading(clip.path, f"decoding fails after {expected - clip.first} good frames"):
                frame = next(decoded, None)
            number = None if frame is None else frame_number(frame, clip, rate)
            if frame is not None and number is not None and number < clip.first:
                continue  # of the episode before: decoding begins at its last keyframe
            if frame is None or number != expected:
                raise frames_missing(clip, expected - clip.first)
            yield frame
            expected += 1


def seek(container: Any, stream: Any, frame: int, rate: Fraction) -> None:
    """Go to the keyframe at or before frame number `frame` of the file."""
    if frame:
        container.seek(round(frame / rate / stream.time_base), stream=stream, backward=True)


def frame_number(timed: Any, clip: Clip, rate: Fraction) -> int:
    """Which frame of the file a packet or decoded frame is, by its time. Raises InputError (`video_timing`)."""
    if timed.pts is None or timed.time_base is None:
        raise InputError("video_timing", f"{clip.path} has frames without a time", REPAIR)
    shown = timed.pts * timed.time_base
    number: int = round(shown * rate)
    if abs(shown - number / rate) >= TOLERANCE:
        what = f"a frame at {float(shown):.6f} s, which is no multiple of 1/{rate} s"
        raise InputError("video_timing", f"{clip.path} has {what}", REPAIR)
    return number


def frames_missing(clip: Clip, found: int) -> InputError:
    """The error for a clip of which only so many frames are there."""
    what = f"{found} of the {clip.frames} frames from number {clip.first} on"
    return InputError("video_frames", f"{clip.path} has {what}", REPAIR)
