"""What is learnt about a camera while its frames pass by on their way to the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lerobot.picture_statistics import ImageStatistics, histogram, sample_indices
from ..media import png
from .fidelity import Reference, reference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from ..media.frames import FrameReader


@dataclass(frozen=True, slots=True)
class Passing:
    """One frame ready for the encoder, with what was measured of its RGB pixels where they were wanted."""

    source: png.Png
    video: VideoFrame
    counts: NDArray[np.int64] | None
    reference: Reference | None


class FrameSampler:
    """Loads frame k of a camera; in any thread.

    `recognised` are the frames of which a reference is kept for the comparison with the finished video: first, last
    and three between them, because each costs a picture of memory until then.
    """

    def __init__(self, paths: Sequence[Path], reader: FrameReader, *, full_range: bool) -> None:
        length = len(paths)
        self._paths = paths
        self._reader = reader
        self._full_range = full_range
        self._counted = frozenset(sample_indices(length))
        self.recognised = frozenset((length - 1) * k // 4 for k in range(5))

    def load(self, index: int) -> Passing:
        """Read one frame; raises as `FrameReader.read`."""
        frame = self._reader.read(self._paths[index], index)
        return Passing(
            source=frame.source,
            video=frame.video,
            counts=histogram(frame.rgb) if index in self._counted else None,
            reference=reference(frame.rgb, full_range=self._full_range) if index in self.recognised else None,
        )


class Tally:
    """Adds up what the frames of one camera have shown, in order. Memory does not grow with their number."""

    def __init__(self, first: png.Png) -> None:
        self._first = first
        self._previous: bytes | None = None
        self._statistics = ImageStatistics()
        self.references: dict[int, Reference] = {}
        self.frames = 0
        self.duplicates = 0
        self.bytes_in = 0
        self.constant = True
        self.transparent = False

    def add(self, frame: Passing) -> None:
        """Count the next frame. Raises `InputError` (`mixed_size`) when it is not of the first frame's size."""
        source = frame.source
        png.same_size(source, self._first)
        if frame.counts is not None:
            self._statistics.add(frame.counts)
        if frame.reference is not None:
            self.references[self.frames] = frame.reference
        self.duplicates += source.identity == self._previous
        self.constant &= source.identity == self._first.identity
        self.transparent |= source.transparent
        self.bytes_in += source.size
        self.frames += 1
        self._previous = source.identity

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every frame, in pixels."""
        return self._first.header.width, self._first.header.height

    def image_stats(self) -> dict[str, list[object]]:
        """The camera's statistics as LeRobot keeps them."""
        return self._statistics.result()

    def image_quantiles(self) -> dict[str, list[object]]:
        """The camera's quantiles as LeRobot v3.0 keeps them."""
        from ..lerobot.statistics import picture_quantiles

        return picture_quantiles(self._statistics.counts)
