"""The statistics of a camera's pictures in a converted dataset: the recorder's where they are right, else measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ...media.lerobot_depth import LARGEST, PIX_FMT, DepthCodes
from ...media.pixels import plane
from .. import statistics
from ..episode_stats import QUANTILES, is_valid_picture
from ..picture_statistics import ImageStatistics, histogram, stride
from ..v30.layout import V30

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.video.frame import VideoFrame

    from ..dataset import Feature

_MOMENTS: Final = ("min", "max", "mean", "std", "count")


class Measure(Protocol):
    """Takes in the sampled frames of one camera of one episode, one at a time."""

    def add(self, frame: VideoFrame) -> None:
        """Count one decoded frame."""

    def result(self) -> dict[str, Any]:
        """The statistics of v3.0."""


def measure_of(feature: Feature, theirs: dict[str, Any] | None, version: str, pix_fmt: str) -> Measure | None:
    """What has to be measured of a camera whose statistics are `theirs`; None: nothing, or nothing that can be."""
    if feature.is_depth:
        return Distances(feature.raw["info"]) if theirs is None and pix_fmt == PIX_FMT else None
    return None if _is_whole(theirs, version) else Colours()


def together(theirs: dict[str, Any] | None, measure: Measure | None, version: str) -> dict[str, Any] | None:
    """A camera's statistics: the recorder's, which saw the PNGs, where they are right; the rest from the video."""
    if measure is None:
        entry = theirs
    else:
        measured = measure.result()
        entry = {**measured, **theirs} if theirs is not None and is_valid_picture(theirs) else measured
    names = (*_MOMENTS, *QUANTILES) if version == V30 else _MOMENTS
    return None if entry is None else {name: entry[name] for name in names if name in entry}


class Colours:
    """Of pictures: (3, 1, 1) in 0..1."""

    def __init__(self) -> None:
        self._counts = ImageStatistics()

    def add(self, frame: VideoFrame) -> None:
        """Count one frame."""
        self._counts.add(histogram(plane(frame.reformat(format="rgb24"), channels=3)))

    def result(self) -> dict[str, Any]:
        """Moments and quantiles."""
        return statistics.of_pictures(self._counts.counts, self._counts.frames)


class Distances:
    """Of LeRobot's depth: (1, 1, 1) in the feature's `depth_unit`, of the distances that LeRobot reads, whole if in mm.

    "No reading" is one of them, as the smallest distance that there is: LeRobot has no code of its own for it, and
    neither does its recorder leave it out.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        metres = DepthCodes.of_info(info).to_metres(np.arange(LARGEST + 1)).astype(np.float64)
        self._values = metres if info.get("depth_unit") == "m" else np.rint(metres * 1000)
        self._counts = np.zeros(LARGEST + 1, np.int64)
        self._frames = 0

    def add(self, frame: VideoFrame) -> None:
        """Count the codes of one frame."""
        step = stride(frame.width, frame.height)
        codes = np.ascontiguousarray(frame.to_ndarray()[::step, ::step])
        self._counts += np.bincount(codes.ravel(), minlength=LARGEST + 1)
        self._frames += 1

    def result(self) -> dict[str, Any]:
        """Moments and quantiles."""
        values, weights = self._values[self._counts > 0], self._counts[self._counts > 0]
        mean = float(np.average(values, weights=weights))
        std = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
        found = {"min": values.min(), "max": values.max(), "mean": mean, "std": std}
        found |= statistics.quantiles_of(values, weights)
        return {**{name: [[[float(value)]]] for name, value in found.items()}, "count": [self._frames]}


def _is_whole(entry: dict[str, Any] | None, version: str) -> bool:
    """Whether a camera's statistics are right, and all that the version wants: then no picture need be measured."""
    names = ("count", *QUANTILES) if version == V30 else ("count",)
    return entry is not None and is_valid_picture(entry) and all(name in entry for name in names)
