"""The frames that depth is made from: those of a video, or the PNG files of a camera that is not encoded yet."""

from __future__ import annotations

from array import array
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..media import video

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
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
    camera: Camera, episode: Episode, path: Path, look: Callable[[Path, Part | None], VideoFrames]
) -> VideoFrames:
    """The pictures of a camera's video, or of the episode's part of it, by `look_at` or another `look`.

    Raises as `look` does, and InputError (`frame_count`) where a dataset has another number of rows.
    """
    part = None if camera.start is None else Part(camera.start, episode.length, episode.fps)
    found = look(path, part)
    if episode.table is not None and found.count != episode.length:
        where = f" from frame {camera.start} on" if camera.start else ""
        raise InputError(
            "frame_count",
            f"{path} has {found.count} frames{where}, episode {episode.id} has {episode.length} rows",
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
    times = array("d")
    first: tuple[int, int, int] | None = None
    for frame in _decoded(path, threads, part):
        first = first or _shown(frame)
        times.append(_time_of(frame, len(times), info.fps))
        tick(len(times))
    if first is None:
        raise InputError(
            "video_no_frames",
            f"{path} decodes to no frame at all, its packets promise {info.frames}",
            "restore this video from where it was recorded, then retry",
        )
    height, width, rotation = first
    if part is not None:
        return VideoFrames(path, len(times), height, width, part.rate, rotation, None, threads, part.first)
    rate, variable = _rate(times, info.fps)
    return VideoFrames(path, len(times), height, width, rate, rotation, tuple(times) if variable else None, threads)


def promised(path: Path, threads: int = 1, part: Part | None = None) -> VideoFrames:
    """What `look_at` finds if the file tells the truth: by its packets and its first picture, in milliseconds.

    Raises as `look_at`.
    """
    stamps, stated = video.stamps(path)
    with closing(_decoded(path, 1, part)) as frames:
        first = next(frames, None)
    if first is None or not stamps:
        raise InputError("video_no_frames", f"{path} promises no frame", "it is decoded to see what it holds")
    height, width, rotation = _shown(first)
    if part is not None:
        return VideoFrames(path, part.length, height, width, part.rate, rotation, None, threads, part.first)
    rate, variable = _rate(stamps, stated)
    return VideoFrames(path, len(stamps), height, width, rate, rotation, tuple(stamps) if variable else None, threads)


def _shown(frame: VideoFrame) -> tuple[int, int, int]:
    """(height, width, rotation in degrees) of a picture as a player shows it."""
    rotation = round(frame.rotation / 90) * 90 % 360
    return (frame.width, frame.height, rotation) if rotation % 180 else (frame.height, frame.width, rotation)


def _decoded(path: Path, threads: int, part: Part | None) -> Generator[VideoFrame, None, None]:
    """The frames of a video, or of its part; closing it closes the file."""
    start = Fraction(0) if part is None else part.first / part.rate
    with closing(video.frames(path, threads, start_s=start)) as frames:
        yield from frames if part is None else islice(frames, part.length)


def _time_of(frame: VideoFrame, number: int, fps: Fraction) -> float:
    if frame.pts is None or frame.time_base is None:
        return float(number / fps) if fps else float(number)
    return float(frame.pts * frame.time_base)


def _rate(times: array[float], stated: Fraction) -> tuple[Fraction, bool]:
    """(rate, whether it is variable): the stated rate where the frames keep to it, else the measured mean."""
    start = times[0]
    times[:] = array("d", (round(time - start, 6) for time in times))
    if stated > 0 and all(abs(time * stated - number) <= _JITTER for number, time in enumerate(times)):
        return stated, False
    if len(times) < 2 or times[-1] <= 0:
        return stated if stated > 0 else Fraction(30), False
    mean = Fraction((len(times) - 1) / times[-1]).limit_denominator(1001)
    constant = all(abs(time * float(mean) - number) <= _JITTER for number, time in enumerate(times))
    return mean, not constant
