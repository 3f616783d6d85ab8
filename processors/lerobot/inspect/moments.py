"""Minimum, maximum, mean and standard deviation of rows that come a few at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class Moments:
    """Of the columns of an array (rows, d), by the parallel formula of Chan, Golub and LeVeque (1979).

    Each but `count` has shape (d,), or (0,) before the first row.
    """

    count: int = 0
    low: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def add(self, rows: NDArray[Any]) -> None:
        """Count rows (n, d)."""
        if not len(rows):
            return
        values = rows.astype(np.float64)
        mean = values.mean(axis=0)
        self._join(len(values), values.min(axis=0), values.max(axis=0), mean, ((values - mean) ** 2).sum(axis=0))

    def merge(self, other: Moments) -> None:
        """Count what another one has counted."""
        if other.count:
            self._join(other.count, other.low, other.high, other.mean, other.squares)

    @property
    def std(self) -> NDArray[np.float64]:
        """Of the population, as numpy and LeRobot reckon it."""
        spread: NDArray[np.float64] = np.sqrt(self.squares / self.count)
        return spread

    def _join(self, count: int, low: Any, high: Any, mean: Any, squares: Any) -> None:
        if not self.count:
            self.count, self.low, self.high, self.mean, self.squares = count, low, high, mean, squares
            return
        total, difference = self.count + count, mean - self.mean
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.squares = self.squares + squares + difference**2 * (self.count * count / total)
        self.mean = self.mean + difference * (count / total)
        self.count = total
