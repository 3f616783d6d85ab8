"""Forward kinematics of the Franka Panda and FR3, to check that recorded flange poses and joints belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: a in m, alpha in rad, d in m of each joint, in Craig's convention; from Franka's control parameters documentation.
_JOINTS: Final = (
    (0.0, 0.0, 0.333),
    (0.0, -np.pi / 2, 0.0),
    (0.0, np.pi / 2, 0.316),
    (0.0825, np.pi / 2, 0.0),
    (-0.0825, -np.pi / 2, 0.384),
    (0.0, np.pi / 2, 0.0),
    (0.088, np.pi / 2, 0.0),
)
_FLANGE_M: Final = 0.107


def flange_poses(joints: Floats) -> Floats:
    """(T, 7) joint angles in rad -> (T, 4, 4) poses of the flange (link 8) in the base."""
    poses = np.broadcast_to(np.eye(4), (len(joints), 4, 4))
    for (a, alpha, d), angle in zip(_JOINTS, joints.T, strict=True):
        poses = poses @ _link(a, alpha, d, angle)
    flange = np.eye(4)
    flange[2, 3] = _FLANGE_M
    return np.asarray(poses @ flange)


def _link(a: float, alpha: float, d: float, angles: Floats) -> Floats:
    cos, sin, ca, sa = np.cos(angles), np.sin(angles), np.cos(alpha), np.sin(alpha)
    link = np.zeros((len(angles), 4, 4))
    link[:, 0, 0], link[:, 0, 1], link[:, 0, 3] = cos, -sin, a
    link[:, 1, 0], link[:, 1, 1], link[:, 1, 2], link[:, 1, 3] = sin * ca, cos * ca, -sa, -d * sa
    link[:, 2, 0], link[:, 2, 1], link[:, 2, 2], link[:, 2, 3] = sin * sa, cos * sa, ca, d * ca
    link[:, 3, 3] = 1.0
    return link
