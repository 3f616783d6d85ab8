"""The gripper in the robot base over time: finger frames, pad points, contact frames.

Frames: base (z up) <- flange E <- gripper G = E Rz(mount_yaw) Trans(0, 0, mount_z) <- left and right finger. The right
finger's frame is the left one's turned by pi about G's z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ..geometry import about_z, posed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .gripper import GripperProfile

    Floats = NDArray[np.float64]

#: Rows that are computed at a time, so that what is in hand stays in the cache.
_ROWS: Final = 128


@dataclass(frozen=True)
class Contact:
    """T rows, all float64, m, in the robot base; rows that are not valid are NaN.

    `gripper` (T, 4, 4): G. `left`, `right` (T, 4, 4): finger frames. `pad` (n, 3): pad points in a finger frame.
    """

    gripper: Floats
    left: Floats
    right: Floats
    pad: Floats

    @property
    def left_contact(self) -> Floats:
        """(T, 4, 4): the left finger's orientation at the mean of its pad points."""
        return self._at_mean(self.left)

    @property
    def right_contact(self) -> Floats:
        """(T, 4, 4): the right finger's orientation at the mean of its pad points."""
        return self._at_mean(self.right)

    @property
    def centroids(self) -> Floats:
        """(T, 3): the mean of all pad points of both fingers."""
        return np.asarray((self.left_contact[:, :3, 3] + self.right_contact[:, :3, 3]) / 2)

    @property
    def frames(self) -> Floats:
        """(T, 4, 4): the gripper's orientation at the centroid."""
        return posed(self.gripper[:, :3, :3], self.centroids)

    def points(self) -> NDArray[np.float32]:
        """(T, 2 n, 3): the pad points, left finger first."""
        return points_on(self.left, self.right, self.pad)

    def _at_mean(self, finger: Floats) -> Floats:
        rotations = finger[:, :3, :3]
        return posed(rotations, rotations @ self.pad.mean(axis=0) + finger[:, :3, 3])


def points_on(left: Floats, right: Floats, pad: Floats) -> NDArray[np.float32]:
    """(T, 2 n, 3) float32: the `pad` points (n, 3) on fingers at (T, 4, 4), which may be lerped and so not rigid."""
    count = len(pad)
    points = np.empty((len(left), 2 * count, 3), np.float32)
    in_pad = np.column_stack([pad, np.ones(count)]).T
    for start in range(0, len(left), _ROWS):
        part = slice(start, start + _ROWS)
        for side, finger in enumerate((left[part], right[part])):
            for axis in range(3):  # one product of matrices for each coordinate: four times as fast as one for each row
                points[part, side * count : (side + 1) * count, axis] = finger[:, axis] @ in_pad
    return points


def contact_of(flange: Floats, position: Floats, profile: GripperProfile, count: int) -> Contact:
    """From (T, 4, 4) flange poses and (T,) gripper positions, with `count` points on each pad."""
    mount = posed(about_z(profile.mount_yaw), np.array([0.0, 0.0, profile.mount_z]))
    gripper = flange @ mount
    x, z = profile.finger(position)
    return Contact(gripper, _finger(gripper, x, z), _finger(gripper @ _turned(), x, z), profile.pad(count))


def _finger(frame: Floats, x: Floats, z: Floats) -> Floats:
    """`frame` moved along its own x and z."""
    finger = frame.copy()
    finger[:, :3, 3] += frame[:, :3, 0] * x[:, None] + frame[:, :3, 2] * z[:, None]
    return finger


def _turned() -> Floats:
    """Rz(pi), exactly."""
    return np.diag([-1.0, -1.0, 1.0, 1.0])
