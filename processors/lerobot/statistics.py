"""The statistics that LeRobot v3.0 keeps of each episode: those of v2.1, and five quantiles.

Computed as `compute_episode_stats` of lerobot 0.4.4 computes them, with two corrections. Up to 0.5.1 the spread of
pictures overflows in 8 bits and comes out as nearly zero (lerobot #3682): here it is right. The spread of the other
features is taken in two passes: mean of squares minus squared mean, in the float32 of a column, leaves nothing of a
joint that moves by a hundredth of a degree around 90.

Quantiles are LeRobot's estimates: a histogram of 5,000 bins from the smallest to the largest value, linear within the
bin. `min`, `max`, `mean`, `std` and quantiles of a vector of n are lists of n, of a camera (3, 1, 1) in 0..1; `count`
is [rows], or the pictures sampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .episode_stats import QUANTILES, as_recorded
from .picture_statistics import moments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from numpy.typing import NDArray

    from .episode_stats import Stats

_BINS: Final = 5000
_MARGIN: Final = 1e-10  # by which the first and the last bin reach beyond the values
_LEVELS: Final = np.arange(256, dtype=np.float64)


def of_columns(columns: Mapping[str, NDArray[Any]], fps: Fraction) -> Stats:
    """Statistics over the rows of each column (rows, ...) of one episode; as in LeRobot over all axes but the last."""
    return {key: of_rows(as_recorded(key, column, fps)) for key, column in columns.items() if len(column)}


def of_rows(column: NDArray[Any]) -> dict[str, Any]:
    """Statistics of one column (rows, ...); of a single row the quantiles are its values, as in LeRobot."""
    values = column.reshape(-1, column.shape[-1] if column.ndim > 1 else 1)
    with np.errstate(all="ignore"):  # a sensor that said inf gives NaN, as in LeRobot
        entry = {
            "min": values.min(axis=0).tolist(),
            "max": values.max(axis=0).tolist(),
            "mean": values.mean(axis=0).tolist(),
            "std": values.std(axis=0, dtype=np.float64).tolist(),
            "count": [len(column)],
        }
        if len(values) < 2:
            return entry | {name: list(entry["mean"]) for name in QUANTILES}
        per_column = [quantiles_of(values[:, number]) for number in range(values.shape[1])]
    return entry | {name: [found[name] for found in per_column] for name in QUANTILES}


def of_pictures(counts: NDArray[np.int64], frames: int) -> dict[str, Any]:
    """Statistics of one camera, from the summed histograms (3, 256) of its `frames` sampled pictures.

    What counts is `picture_statistics.histogram`, of the frames `picture_statistics.sample_indices`.
    """
    return {**moments(counts, frames), **picture_quantiles(counts)}


def picture_quantiles(counts: NDArray[np.int64]) -> dict[str, Any]:
    """The five quantiles of one camera, each (3, 1, 1) in 0..1."""
    per_channel = [quantiles_of(_LEVELS[channel > 0], channel[channel > 0]) for channel in counts]
    return {name: [[[found[name] / 255.0]] for found in per_channel] for name in QUANTILES}


def quantiles_of(values: NDArray[Any], weights: NDArray[np.int64] | None = None) -> dict[str, float]:
    """LeRobot's estimates of the five quantiles of values (n,), each of which occurs as often as its weight says."""
    edges = np.linspace(values.min() - _MARGIN, values.max() + _MARGIN, _BINS + 1)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    counts, _ = np.histogram(values, bins=edges, weights=weights)
    cumulative = np.cumsum(counts.astype(np.float64))
    total = len(values) if weights is None else int(weights.sum())
    return {name: float(_at(quantile * total, cumulative, edges)) for name, quantile in QUANTILES.items()}


def _at(target: float, cumulative: NDArray[np.float64], edges: NDArray[Any]) -> Any:
    bin_ = int(np.searchsorted(cumulative, target))
    if bin_ == 0:
        return edges[0]
    if bin_ >= len(cumulative):
        return edges[-1]
    before = cumulative[bin_ - 1]
    inside = cumulative[bin_] - before
    return edges[bin_] + (target - before) / inside * (edges[bin_ + 1] - edges[bin_])
