"""Image statistics of a camera, the numbers that LeRobot keeps of it in `meta/episodes_stats.jsonl`.

The same frames, the same pixels and the same arithmetic as `compute_episode_stats` of lerobot 0.3.3: evenly spaced
frames, every n-th pixel of each, minimum, maximum, mean and standard deviation per channel in 0..1. LeRobot stacks
the sampled frames in memory; here each goes into a 256-bin histogram per channel, which holds the same information
in 6 kB whatever the length of the episode, and exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = np.arange(256, dtype=np.float64)


def sample_indices(length: int) -> list[int]:
    """The frames that LeRobot samples from an episode of `length` frames, in order.

    length ** 0.75 of them, at least 100 (or all there are) and at most 10,000, evenly spaced, first and last included.
    """
    count = max(min(length, 100), min(int(length**0.75), 10_000))
    return [int(index) for index in np.round(np.linspace(0, length - 1, count))]


def stride(width: int, height: int) -> int:
    """Every n-th pixel of a frame counts: its longer side comes to about 150 pixels, unless it is below 300."""
    longer = max(width, height)
    return 1 if longer < 300 else int(longer / 150)


def histogram(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts (3, 256) of the values per channel of one frame (H, W, 3), thinned out by `stride`."""
    height, width, _ = rgb.shape
    step = stride(width, height)
    thinned = np.ascontiguousarray(rgb[::step, ::step].transpose(2, 0, 1)).reshape(3, -1)
    return np.stack([np.bincount(channel, minlength=256) for channel in thinned])


def moments(counts: NDArray[np.int64], frames: int) -> dict[str, list[object]]:
    """Of the summed histograms (3, 256) of so many sampled frames.

    `min`, `max`, `mean`, `std` as nested lists of shape (3, 1, 1) in 0..1, and `count`, the frames sampled.
    """
    pixels = counts.sum(axis=1)
    mean = counts @ _LEVELS / pixels
    variance = (counts * (_LEVELS - mean[:, np.newaxis]) ** 2).sum(axis=1) / pixels
    seen = counts > 0
    lowest, highest = seen.argmax(axis=1), 255 - seen[:, ::-1].argmax(axis=1)
    values = {"min": lowest, "max": highest, "mean": mean, "std": np.sqrt(variance)}
    per_channel = {name: (value / 255.0).reshape(3, 1, 1).tolist() for name, value in values.items()}
    return {**per_channel, "count": [frames]}


class ImageStatistics:
    """Adds up the histograms of the sampled frames of one camera of one episode.

    `counts` (3, 256): how often each value has occurred in each channel; `frames`: in so many frames.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((3, 256), np.int64)
        self.frames = 0

    def add(self, counts: NDArray[np.int64]) -> None:
        """Count one sampled frame, given as its `histogram`."""
        self.counts += counts
        self.frames += 1

    def result(self) -> dict[str, list[object]]:
        """The camera's `moments`."""
        return moments(self.counts, self.frames)
