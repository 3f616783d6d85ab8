"""Depth maps from the model's size to the camera's: bilinear, corner on corner.

In NumPy, because it must give the same bytes on every machine and with any number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Resize:
    """Bilinear interpolation of float32 maps from one (height, width) to another.

    The centres of the corner pixels of both sizes coincide ("align_corners=True"), as in Video-Depth-Anything.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        self.source, self.target = source, target
        self._rows = _neighbours(source[0], target[0])
        self._columns = _neighbours(source[1], target[1])

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The map at the target size, a new array."""
        if values.shape != self.source:
            raise ValueError(f"a map of {values.shape}, not {self.source}")
        if self.source == self.target:
            return np.array(values, dtype=np.float32)
        low, high, weight = self._rows
        rows = _between(values[low], values[high], weight[:, np.newaxis])
        low, high, weight = self._columns
        return _between(np.take(rows, low, axis=1), np.take(rows, high, axis=1), weight)


def _neighbours(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each target coordinate the source coordinates on both sides of it, and the weight of the second."""
    position = np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)
    low = np.minimum(position.astype(np.intp), source - 1)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)


def _between(low: NDArray[np.float32], high: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """`low + weight (high - low)`; both are overwritten."""
    high -= low
    high *= weight
    low += high
    return low
