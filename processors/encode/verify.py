"""The finished video, read back: every frame decoded once, before anybody may think of removing a PNG."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import EpisodedError, InputError
from ..media import video
from .fidelity import LARGEST_SHIFT, Reference, psnr, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from av.video.frame import VideoFrame

TOLERANCE = Fraction(1, 10_000)  # seconds: what LeRobot's loader allows between a frame's time stamp and its row

_RECODE = "restore this video, or the PNG frames it was made from; then retry"
_QUALITY = "lower `crf` in the encode settings, or lower `min_psnr_db` if the camera is that noisy; then retry"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a video must hold: `frames` pictures at `rate` per second, the first at 0.

    `size` is (width, height), or None to take the first frame's for all. `references` are sampled frames that must be
    recognised with `min_psnr_db`. `start` is the frame of the file with which they begin, in a file that holds others
    as well.
    """

    camera: str
    frames: int
    rate: Fraction
    size: tuple[int, int] | None = None
    references: Mapping[int, Reference] = field(default_factory=dict)
    min_psnr_db: float = 0.0
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was seen: the size (width, height), and the luma PSNR of the sampled frames by index, in dB."""

    size: tuple[int, int]
    psnr_db: dict[int, float]


def verify(
    path: Path, expected: Expectation, *, threads: int = 1, on_frame: Callable[[int, VideoFrame], None] | None = None
) -> Verified:
    """Decode the whole file and compare it with `expected`; `on_frame(index, frame)` sees each frame on the way.

    Raises `InputError` naming camera, file and frame: `video_short`, `video_long`, `video_size`, `video_timing`, what
    `video.frames` raises; and `EpisodedError` `low_psnr` and `wrong_colour` for a frame that is not its PNG.
    """
    size, measured, count = expected.size, {}, 0
    for index, frame in enumerate(_frames(path, expected, threads)):
        count += 1
        if index >= expected.frames:
            continue  # count them all for the message
        size = size or (frame.width, frame.height)
        _check_size(path, expected, index, frame, size)
        _check_time(path, expected, index, frame)
        if (reference := expected.references.get(index)) is not None:
            measured[index] = _check_picture(path, expected, index, frame, reference)
        if on_frame is not None:
            on_frame(index, frame)
    if count != expected.frames or size is None:
        code = "video_short" if count < expected.frames else "video_long"
        what = f"decodes to {count} frames, the episode has {expected.frames}"
        raise InputError(code, f"{expected.camera}: {path} {what}", _RECODE)
    return Verified(size, measured)


def _frames(path: Path, expected: Expectation, threads: int) -> Iterator[VideoFrame]:
    """The frames of the file, or as many of them as the episode has in it."""
    if expected.start is None:
        yield from video.frames(path, threads)
        return
    with closing(video.frames(path, threads, start_s=expected.start / expected.rate)) as frames:
        yield from islice(frames, expected.frames)


def _check_size(path: Path, expected: Expectation, index: int, frame: VideoFrame, size: tuple[int, int]) -> None:
    if (frame.width, frame.height) != size:
        what = f"frame {index} is {frame.width}x{frame.height} instead of {size[0]}x{size[1]}"
        raise InputError("video_size", f"{expected.camera}: {path} {what}", _RECODE)


def _check_time(path: Path, expected: Expectation, index: int, frame: VideoFrame) -> None:
    due = ((expected.start or 0) + index) / expected.rate
    shown = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
    if shown is None or abs(shown - due) >= TOLERANCE:
        at = "no time stamp" if shown is None else f"{float(shown):.6f} s"
        what = f"frame {index} is at {at} instead of {float(due):.6f} s ({expected.rate} fps)"
        raise InputError("video_timing", f"{expected.camera}: {path} {what}", _RECODE)


def _check_picture(path: Path, expected: Expectation, index: int, frame: VideoFrame, reference: Reference) -> float:
    measured, shifted = psnr(reference, frame), shift(reference, frame)
    if measured < expected.min_psnr_db:
        what = f"frame {index} has a PSNR of {measured:.1f} dB against its PNG, below {expected.min_psnr_db:g} dB"
        raise EpisodedError("low_psnr", f"{expected.camera}: {path.name} {what}", _QUALITY)
    if shifted > LARGEST_SHIFT:
        what = f"frame {index} is off by {shifted:.1f} levels in brightness or colour"
        raise EpisodedError("wrong_colour", f"{expected.camera}: {path.name} {what}", _QUALITY)
    return measured
