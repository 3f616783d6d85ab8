"""What the time stamps of an episode say about its recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

#: Seconds by which LeRobot's loader lets the step between two rows differ from 1 / fps.
LEROBOT_TOLERANCE_S: Final = 1e-4


def judge(stamps: NDArray[Any], fps: Fraction) -> dict[str, Any] | None:
    """Compare an episode's time stamps (n,) in seconds with the nominal rate, in frames per second.

    None when there is nothing to compare: no stamps, or some that are no numbers.

    `first_s`: the first stamp. `measured_fps`: rows per second between the first and the last (None for one row).
    `max_drift_s`: the largest difference between a stamp, counted from the first, and frame / fps. `longest_step_s`:
    between neighbours. `monotonic`: every stamp is later than the one before. `dropped_estimate`: frames that would
    fill the steps to the nominal rate. `lerobot_accepts`: every step is 1 / fps within LeRobot's tolerance, so that its
    loader opens the dataset.
    """
    if not stamps.size or not np.isfinite(stamps).all():
        return None
    seconds = stamps.astype(np.float64)
    steps, rate = np.diff(seconds), float(fps)
    elapsed = seconds - seconds[0]
    drift = np.abs(elapsed - np.arange(len(seconds)) / rate)
    # In the precision of the table, as LeRobot does it: a stamp is rounded to 6e-5 s after 1,000 s in float32.
    lerobot_steps = np.abs(np.diff(stamps) - 1.0 / rate)
    return {
        "first_s": _rounded(seconds[0]),
        "measured_fps": _rounded((len(seconds) - 1) / elapsed[-1]) if len(seconds) > 1 and elapsed[-1] > 0 else None,
        "max_drift_s": _rounded(drift.max()),
        "longest_step_s": _rounded(steps.max()) if len(steps) else None,
        "monotonic": bool((steps > 0).all()),
        "dropped_estimate": int(np.maximum(np.rint(steps * rate) - 1, 0).sum()),
        "lerobot_accepts": bool((lerobot_steps <= LEROBOT_TOLERANCE_S).all()),
    }


def _rounded(value: Any) -> float:
    """To the microsecond: float32 stamps hold no more."""
    return round(float(value), 6)
