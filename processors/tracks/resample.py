"""The same trajectory by distance instead of time: one row for every millimetre that the centroid has travelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ..geometry import posed, slerp
from .contact import points_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contact import Contact

    Floats = NDArray[np.float64]

STEP_MM: Final = 1.0
#: A rest shorter than this is rounding: an exact 5 mm has 6 rows, not 7.
_SHORTEST_REST_MM: Final = 1e-6


@dataclass(frozen=True)
class Resampled:
    """M rows at `distance` (M,) mm: 0, 1, 2 ... and the exact end. float64, m, robot base, but for `points` float32.

    `travelled` (T,) mm: the arc length of the centroid up to each row of the trajectory, NaN for invalid ones.
    `nearest` (T,) int32: the row of this nearest to each row of the trajectory, the lower of two; -1 for invalid ones.
    """

    distance: Floats
    travelled: Floats
    nearest: NDArray[np.int32]
    centroids: Floats
    frames: Floats
    left: Floats
    right: Floats
    points: NDArray[np.float32]


def resample(contact: Contact, valid: NDArray[np.bool_]) -> Resampled:
    """Positions and points are interpolated linearly between the rows of the trajectory, orientations by slerp.

    Invalid rows are left out as if they had not been recorded.
    """
    rows = np.flatnonzero(valid)
    centroids = contact.centroids[rows]
    s = arc_length(centroids)
    distance = steps(float(s[-1]))
    first, second, alpha = _between(s, distance)
    travelled = np.full(len(valid), np.nan)
    travelled[rows] = s
    nearest = np.full(len(valid), -1, np.int32)
    nearest[rows] = nearest_step(distance, s)

    gripper, left, right = contact.gripper[rows], contact.left[rows], contact.right[rows]
    turned = slerp(gripper[first, :3, :3], gripper[second, :3, :3], alpha)
    half_turn = np.array([-1.0, -1.0, 1.0])

    def between(values: Floats) -> Floats:
        return _lerp(values[first], values[second], alpha)

    left_mean, right_mean = contact.left_contact[rows][:, :3, 3], contact.right_contact[rows][:, :3, 3]
    middle = between(centroids)
    return Resampled(
        distance=distance,
        travelled=travelled,
        nearest=nearest,
        centroids=middle,
        frames=posed(turned, middle),
        left=posed(turned, between(left_mean)),
        right=posed(turned * half_turn, between(right_mean)),
        points=points_on(between(left), between(right), contact.pad),
    )


def arc_length(positions: Floats) -> Floats:
    """(T,) mm travelled along (T, 3) positions in m, from 0."""
    moved = 1000 * np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(moved)])


def steps(length: float) -> Floats:
    """(M,) mm: 0, 1, 2 ... up to `length`, and `length` itself."""
    whole = int(np.floor(length + _SHORTEST_REST_MM))
    distance = np.arange(whole + 1, dtype=np.float64) * STEP_MM
    if length - whole > _SHORTEST_REST_MM:
        return np.append(distance, length)
    if whole:
        distance[-1] = length  # the end itself, were it 1e-9 mm away
    return distance


def nearest_step(distance: Floats, travelled: Floats) -> NDArray[np.int32]:
    """(T,): the index of the value of `distance` nearest to each of `travelled`, the lower of two."""
    after = np.clip(np.searchsorted(distance, travelled, "left"), 0, len(distance) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(travelled - distance[before] <= distance[after] - travelled, before, after).astype(np.int32)


def _between(s: Floats, distance: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """The rows before and after each distance, and how far it is from one to the other, 0 .. 1."""
    if len(s) == 1:
        zeros = np.zeros(len(distance), np.intp)
        return zeros, zeros, np.zeros(len(distance))
    second = np.clip(np.searchsorted(s, distance, "left"), 1, len(s) - 1)
    first = second - 1
    gap = s[second] - s[first]
    alpha = np.where(gap > 0, (distance - s[first]) / np.where(gap > 0, gap, 1.0), 0.0)
    return first, second, np.clip(alpha, 0.0, 1.0)


def _lerp(first: Floats, second: Floats, alpha: Floats) -> Floats:
    weight = alpha.reshape(-1, *(1,) * (first.ndim - 1))
    return np.asarray((1 - weight) * first + weight * second)
