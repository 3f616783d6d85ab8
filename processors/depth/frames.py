"""The frames that depth is made from: those of a video, or the PNG files of a camera that is not encoded yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..media import video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from ..episode import Camera, Episode

#: How far from the grid of a constant rate a frame may lie, as a share of a frame, before the rate is called variable.
_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Part:
    """Frames `first` to `first` + `length` - 1 of a video whose frames lie on the grid of `rate` frames per second."""

    first: int
    length: int
    rate: Fraction


@dataclass(frozen=True)
class VideoFrames:
    """The pictures of a video as a player shows them: turned upright, whatever their pixel format.

    `rotation_deg`: by how much they were turned, counter-clockwise. `times_s`: when each is shown, counted from the
    first, for a video without a constant rate; else None. `first`: the frame of the file that is frame 0 here, where
    the file holds several episodes; None: all of it is this one.
    """

    path: Path
    count: int
    height: int
    width: int
    rate: Fraction
    rotation_deg: int = 0
    times_s: tuple[float, ...] | None = None
    threads: int = 1
    first: int | None = None

    def read(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on, decoded from the beginning: no index of a file is believed."""
        part = None if self.first is None else Part(self.first, self.count, self.rate)
        number = -1
        for number, frame in enumerate(_decoded(self.path, self.threads, part)):
            if number >= self.count:
                break
            if number >= start:
                yield self._upright(frame, number)
        if number + 1 != self.count:
            raise InputError(
                "video_frames",
                f"{self.path} gave {self.count} frames when it was looked at, and {number + 1} now",
                "was it replaced meanwhile? it is looked at anew with `episoded retry`",
            )

    def _upright(self, frame: VideoFrame, number: int) -> NDArray[np.uint8]:
        picture: Any = frame.to_ndarray(format="rgb24")
        upright: NDArray[np.uint8] = np.ascontiguousarray(np.rot90(picture, self.rotation_deg // 90))
        if upright.shape[:2] != (self.height, self.width):
            height, width = upright.shape[:2]
            raise InputError(
                "mixed_size",
                f"frame {number} of {self.path} is {width}x{height}, the first one {self.width}x{self.height}",
                "cut the video where its size changes: depth is made of one size",
            )
        return upright


@dataclass(frozen=True)
class PngFrames:
    """The PNG files of one camera: `paths[k]` is frame k."""

    paths: tuple[Path, ...]
    height: int
    width: int
    rate: Fraction
    rotation_deg: int = 0
    times_s: None = None

    @property
    def count(self) -> int:
        """One for each file."""
        return len(self.paths)

    @classmethod
    def of(cls, paths: tuple[Path, ...], rate: Fraction) -> PngFrames:
        """Look at the first file for the size. Raises `InputError` with the codes of `media.png`."""
        from ..media import png

        header = png.read(paths[0]).header
        return cls(paths, header.height, header.width, rate)

    def read(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on. Raises `InputError` with the codes of `media.png`, and `mixed_size`."""
        from ..media.frames import FrameReader

        reader = FrameReader("rgb24")  # only the picture is wanted, of any size
        for number in range(start, self.count):
            rgb = reader.read(self.paths[number], number).rgb
            if rgb.shape[:2] != (self.height, self.width):
                height, width = rgb.shape[:2]
                raise InputError(
                    "mixed_size",
                    f"frame {number} ({self.paths[number]}) is {width}x{height}, the first {self.width}x{self.height}",
                    "all frames of a camera have one size: record or copy them again",
                )
            yield np.ascontiguousarray(rgb)


def recorded(
    camera: Camera, episode: Episode, paths: tuple[Path, ...], threads: int, tick: Callable[[int], None]
) -> VideoFrames | PngFrames:
    """The frames of a camera: its PNG files, or the pictures of its video or of the episode's part of it.

    Raises as `look_at` and `PngFrames.of`, and InputError (`frame_count`) where a dataset has another number of rows.
    """
    if camera.frames is not None and paths == camera.frames.paths:
        return PngFrames.of(paths, episode.fps)
    part = None if camera.start is None else Part(camera.start, episode.length, episode.fps)
    found = look_at(paths[0], threads, tick, part)
    if episode.table is not None and found.count != episode.length:
        where = f" from frame {camera.start} on" if camera.start else ""
        raise InputError(
            "frame_count",
            f"{paths[0]} has {found.count} frames{where}, episode {episode.id} has {episode.length} rows",
            "the video of another take lies there, or it was cut off: upload the right one, then retry",
        )
    return found if camera.rate is None else replace(found, rate=camera.rate, times_s=None)


def look_at(
    path: Path, threads: int = 1, tick: Callable[[int], None] = lambda _: None, part: Part | None = None
) -> VideoFrames:
    """Decode a video, or a part of it, once: to know how many frames it really has, their size and times.

    Which frames a video model looks at together depends on the last one, and damage is better found before hours of
    work than after. `tick(frames so far)` is called for each frame.
    Raises as `media.video.frames`, and InputError: `video_no_frames`.
    """
    info = video.probe(path)
    times: list[float] = []
    first: tuple[int, int, int] | None = None
    for frame in _decoded(path, threads, part):
        first = first or (frame.height, frame.width, round(frame.rotation / 90) * 90 % 360)
        times.append(_time_of(frame, len(times), info.fps))
        tick(len(times))
    if first is None:
        raise InputError(
            "video_no_frames",
            f"{path} decodes to no frame at all, its packets promise {info.frames}",
            "restore this video from where it was recorded, then retry",
        )
    height, width, rotation = first
    if rotation % 180:
        height, width = width, height
    if part is not None:
        return VideoFrames(path, len(times), height, width, part.rate, rotation, None, threads, part.first)
    rate, variable = _rate(times, info.fps)
    return VideoFrames(path, len(times), height, width, rate, rotation, tuple(times) if variable else None, threads)


def _decoded(path: Path, threads: int, part: Part | None) -> Iterator[VideoFrame]:
    if part is None:
        return video.frames(path, threads)
    return islice(video.frames(path, threads, start_s=part.first / part.rate), part.length)


def _time_of(frame: VideoFrame, number: int, fps: Fraction) -> float:
    if frame.pts is None or frame.time_base is None:
        return float(number / fps) if fps else float(number)
    return float(frame.pts * frame.time_base)


def _rate(times: list[float], stated: Fraction) -> tuple[Fraction, bool]:
    """(rate, whether it is variable): the stated rate where the frames keep to it, else the measured mean."""
    start = times[0]
    times[:] = [round(time - start, 6) for time in times]
    if stated > 0 and all(abs(time * stated - number) <= _JITTER for number, time in enumerate(times)):
        return stated, False
    if len(times) < 2 or times[-1] <= 0:
        return stated if stated > 0 else Fraction(30), False
    mean = Fraction((len(times) - 1) / times[-1]).limit_denominator(1001)
    constant = all(abs(time * float(mean) - number) <= _JITTER for number, time in enumerate(times))
    return mean, not constant
