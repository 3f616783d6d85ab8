"""The pictures of a stereo pair: both eyes in one video, or a video for each."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .source import Frames

    Picture = NDArray[np.uint8]

WIDE = 3.0  # width / height from which a picture is two side by side: one eye would be 1.5 : 1 at least


class Pairs(Protocol):
    """Pictures of both eyes. `height`, `width`: of one of them."""

    @property
    def count(self) -> int:
        """Frames."""

    @property
    def height(self) -> int:
        """Of one eye."""

    @property
    def width(self) -> int:
        """Of one eye."""

    def read(self, start: int = 0) -> Iterator[tuple[Picture, Picture]]:
        """(left, right) of frames `start` to `count` - 1."""


def is_side_by_side(camera: str, height: int, width: int, named: Literal["auto"] | Sequence[str] = "auto") -> bool:
    """Whether the pictures of a camera show both eyes.

    `named`: patterns of the keys of those that do; "auto": what is so wide must be two, because recorders do not always
    say so, and two of 640 x 480 are not wide enough to tell.
    """
    if named == "auto":
        return width >= WIDE * height
    return any(fnmatchcase(camera, pattern) for pattern in named)


@dataclass(frozen=True)
class SideBySide:
    """Both eyes in each frame of one video, left | right."""

    frames: Frames

    @property
    def count(self) -> int:
        """Frames."""
        return self.frames.count

    @property
    def height(self) -> int:
        """Of one eye."""
        return self.frames.height

    @property
    def width(self) -> int:
        """Of one eye."""
        return self.frames.width // 2

    def read(self, start: int = 0) -> Iterator[tuple[Picture, Picture]]:
        """See `Pairs`."""
        for frame in self.frames.read(start):
            yield frame[:, : self.width], frame[:, -self.width :]


@dataclass(frozen=True)
class TwoVideos:
    """A video for each eye, of the same size and length."""

    left: Frames
    right: Frames

    def __post_init__(self) -> None:
        ours, theirs = ((eye.count, eye.height, eye.width) for eye in (self.left, self.right))
        if ours != theirs:
            what = f"left and right differ in (frames, height, width): {ours} and {theirs}"
            raise InputError("stereo_pair", what, "give the two recordings of one pair, both whole")

    @property
    def count(self) -> int:
        """Frames."""
        return self.left.count

    @property
    def height(self) -> int:
        """Of one eye."""
        return self.left.height

    @property
    def width(self) -> int:
        """Of one eye."""
        return self.left.width

    def read(self, start: int = 0) -> Iterator[tuple[Picture, Picture]]:
        """See `Pairs`."""
        return zip(self.left.read(start), self.right.read(start), strict=True)


@dataclass(frozen=True)
class LeftEye:
    """The left pictures of a pair as frames: what the depth of the pair is aligned with."""

    pairs: Pairs

    @property
    def count(self) -> int:
        """Frames."""
        return self.pairs.count

    @property
    def height(self) -> int:
        """Of one eye."""
        return self.pairs.height

    @property
    def width(self) -> int:
        """Of one eye."""
        return self.pairs.width

    def read(self, start: int = 0) -> Iterator[Picture]:
        """See `Frames`."""
        for left, _ in self.pairs.read(start):
            yield np.ascontiguousarray(left)
