"""The recorded motion, made fit to be used: which rows are valid, the measured rate, the state at other times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import InputError
from ..formats.droid_state import measured_rate
from ..geometry import posed, poses_of, slerp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..formats.droid_state import RobotState

    Floats = NDArray[np.float64]

NOMINAL_FPS: Final = 15.0
#: More rows than this that are no numbers, and the recording is not worth having.
_MOST_INVALID: Final = 0.05
#: Farther from its base no flange of these robots comes (their reach is 0.86 m).
_REACH_M: Final = 2.0


@dataclass(frozen=True)
class Trajectory:
    """T rows: `valid` (T,), `flange` (T, 4, 4) poses in the base (NaN where not valid), `gripper` (T,) 0 .. 1.

    `times_s` (T,): when the robot was read, Unix s, NaN where it is not known. `fps`: the measured rate in rows per
    second. `flags`: what is to be said of it.
    """

    valid: NDArray[np.bool_]
    flange: Floats
    gripper: Floats
    times_s: Floats
    fps: float
    flags: tuple[str, ...]


def trajectory_of(state: RobotState, name: str) -> Trajectory:
    """The motion of an episode called `name`.

    Raises InputError (`state_not_finite`) when more than 5 % of its rows are no numbers, or no place of a robot.
    """
    finite = np.isfinite(state.cartesian).all(axis=1) & np.isfinite(state.gripper)
    with np.errstate(invalid="ignore", over="ignore"):
        valid = finite & (np.abs(state.cartesian[:, :3]) < _REACH_M).all(axis=1)
    bad = int((~valid).sum())
    if bad > _MOST_INVALID * len(valid):
        raise InputError(
            "state_not_finite",
            f"{name}: {bad} of {len(valid)} rows of the robot's state are not finite, or out of its reach; the first "
            f"is row {int(np.argmin(valid))}",
            "record the episode again, or remove it: too little of its motion is known",
        )
    flags = [f"invalid_rows: {bad} of {len(valid)}, left out"] if bad else []
    cartesian = np.where(valid[:, None], state.cartesian, np.nan)
    gripper = np.where(valid, state.gripper, np.nan)
    fps = _measured_fps(state)
    if fps is None:
        flags.append(f"nominal_fps: no usable time stamps, {NOMINAL_FPS:g} assumed")
    if state.read_ms is not None and (np.diff(state.read_ms) <= 0).any():
        flags.append(f"timestamps_not_rising: {int((np.diff(state.read_ms) <= 0).sum())} steps")
    times = np.full(state.length, np.nan) if state.read_ms is None else state.read_ms / 1000.0
    return Trajectory(valid, poses_of(cartesian), gripper, times, fps or NOMINAL_FPS, tuple(flags))


def at_capture(trajectory: Trajectory, captured_ms: NDArray[Any] | None) -> Trajectory:
    """The motion as it was when a camera captured the image of each row, interpolated between the valid rows.

    The pose linearly and by slerp; before the first and after the last row it rests. Unchanged without time stamps.
    """
    times = trajectory.times_s
    rows = np.flatnonzero(trajectory.valid & np.isfinite(times))
    if captured_ms is None or len(rows) < 2 or (np.diff(times[rows]) <= 0).any():
        return trajectory
    wanted = np.clip(captured_ms / 1000.0, times[rows[0]], times[rows[-1]])
    after = np.clip(np.searchsorted(times[rows], wanted, "left"), 1, len(rows) - 1)
    first, second = rows[after - 1], rows[after]
    alpha = (wanted - times[first]) / (times[second] - times[first])
    a, b = trajectory.flange[first], trajectory.flange[second]
    weight = alpha[:, None]
    flange = posed(slerp(a[:, :3, :3], b[:, :3, :3], alpha), (1 - weight) * a[:, :3, 3] + weight * b[:, :3, 3])
    gripper = (1 - alpha) * trajectory.gripper[first] + alpha * trajectory.gripper[second]
    return Trajectory(trajectory.valid, flange, gripper, wanted, trajectory.fps, trajectory.flags)


def _measured_fps(state: RobotState) -> float | None:
    if state.read_ms is None:
        return None
    rate = measured_rate(int(state.read_ms[0]), int(state.read_ms[-1]), state.length)
    return None if rate is None else float(rate)
