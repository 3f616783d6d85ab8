"""Rigid motions, batched: pure functions on float64 arrays.

A pose is a (4, 4) matrix that takes points of its own frame into another one. A pose vector is DROID's (x, y, z, roll,
pitch, yaw) in m and rad with R = Rz(yaw) Ry(pitch) Rx(roll), scipy's lower-case "xyz". Checked on a real episode: only
with this convention does flange pose times gripper offset give the recorded poses of the wrist camera (to 1e-16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Below this angle in rad the sine of a slerp is lost in rounding, and the chord is as good as the arc.
_TINY_ANGLE: Final = 1e-6


def poses_of(vectors: ArrayLike) -> Floats:
    """(..., 6) pose vectors -> (..., 4, 4) poses."""
    values = np.asarray(vectors, np.float64)
    cos, sin = np.cos(values[..., 3:]), np.sin(values[..., 3:])
    (cr, cp, cy), (sr, sp, sy) = np.moveaxis(cos, -1, 0), np.moveaxis(sin, -1, 0)
    poses = np.zeros((*values.shape[:-1], 4, 4))
    poses[..., 0, 0], poses[..., 0, 1], poses[..., 0, 2] = cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr
    poses[..., 1, 0], poses[..., 1, 1], poses[..., 1, 2] = sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr
    poses[..., 2, 0], poses[..., 2, 1], poses[..., 2, 2] = -sp, cp * sr, cp * cr
    poses[..., :3, 3] = values[..., :3]
    poses[..., 3, 3] = 1.0
    return poses


def posed(rotations: Floats, positions: Floats) -> Floats:
    """(..., 3, 3) rotations and (..., 3) positions -> (..., 4, 4) poses."""
    poses = np.zeros((*positions.shape[:-1], 4, 4))
    poses[..., :3, :3], poses[..., :3, 3], poses[..., 3, 3] = rotations, positions, 1.0
    return poses


def inverse(poses: Floats) -> Floats:
    """The inverse motion of each of (..., 4, 4) poses."""
    rotations = np.swapaxes(poses[..., :3, :3], -1, -2)
    return posed(rotations, -(rotations @ poses[..., :3, 3, None])[..., 0])


def about_z(angle: float) -> Floats:
    """The (3, 3) rotation by `angle` rad about z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def quaternions_of(rotations: Floats) -> Floats:
    """(..., 3, 3) rotations -> (..., 4) unit quaternions (w, x, y, z), w >= 0 up to rounding.

    From the column of the symmetric matrix 4 q q^T with the largest diagonal element: no cancellation for any angle.
    """
    m = rotations
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    outer = np.empty((*m.shape[:-2], 4, 4))
    outer[..., 0, 0], outer[..., 1, 1] = 1 + xx + yy + zz, 1 + xx - yy - zz
    outer[..., 2, 2], outer[..., 3, 3] = 1 - xx + yy - zz, 1 - xx - yy + zz
    for row, column, value in (
        (0, 1, m[..., 2, 1] - m[..., 1, 2]),
        (0, 2, m[..., 0, 2] - m[..., 2, 0]),
        (0, 3, m[..., 1, 0] - m[..., 0, 1]),
        (1, 2, m[..., 0, 1] + m[..., 1, 0]),
        (1, 3, m[..., 0, 2] + m[..., 2, 0]),
        (2, 3, m[..., 1, 2] + m[..., 2, 1]),
    ):
        outer[..., row, column] = outer[..., column, row] = value
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    quaternions = np.take_along_axis(outer, largest[..., None, None], axis=-1)[..., 0]
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return np.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def rotations_of(quaternions: Floats) -> Floats:
    """(..., 4) unit quaternions (w, x, y, z) -> (..., 3, 3) rotations."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def slerp(first: Floats, second: Floats, alpha: Floats) -> Floats:
    """Between (M, 3, 3) rotations at (M,) fractions: along the shorter arc, at constant speed.

    Where the two are less than 1e-6 rad apart the chord is taken; at 0 and 1 the rotations are those given.
    """
    a, b = quaternions_of(first), quaternions_of(second)
    dot = np.sum(a * b, axis=-1)
    b = np.where(dot[..., None] < 0, -b, b)
    angle = np.arctan2(np.linalg.norm(b - a, axis=-1), np.linalg.norm(b + a, axis=-1)) * 2
    sine = np.sin(angle)
    tiny = angle < _TINY_ANGLE
    safe = np.where(tiny, 1.0, sine)
    weight_a = np.where(tiny, 1 - alpha, np.sin((1 - alpha) * angle) / safe)
    weight_b = np.where(tiny, alpha, np.sin(alpha * angle) / safe)
    mixed = weight_a[..., None] * a + weight_b[..., None] * b
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    return rotations_of(mixed)


def angles_between(first: Floats, second: Floats) -> Floats:
    """The angles in rad between (..., 3, 3) rotations."""
    a, b = quaternions_of(first), quaternions_of(second)
    half = np.abs(np.sum(a * b, axis=-1))
    sine = np.sqrt(np.clip(1 - half * half, 0, None))
    return np.asarray(2 * np.arctan2(sine, half))
