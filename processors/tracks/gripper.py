"""Parallel grippers as a linkage and a pad: where the fingers are at an opening, and the points on their pads.

The finger frame: x outwards (away from the other finger), y across the pad, z along the finger. It never turns in the
gripper's frame, which is what makes a gripper parallel. All lengths are in metres, angles in rad.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class GripperProfile(BaseModel):
    """The geometry of a gripper with two fingers on parallel linkages.

    `pivot_x`, `pivot_z`: the crank's pivot in the gripper frame. `crank_x`, `crank_z`: from there to the finger frame
    when open. `closing_angle`: by how much the crank turns from open to closed. `mount_yaw`, `mount_z`: from the flange
    to the gripper frame, about and along its z. `pad_x`: the plane of the pad in the finger frame; `pad_half_width`,
    `pad_from`, `pad_to`: its extent in y and z.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "custom"
    pivot_x: float
    pivot_z: float
    crank_x: float
    crank_z: float
    closing_angle: Annotated[float, Field(gt=0, lt=math.pi)]
    mount_yaw: float = 0.0
    mount_z: float = 0.0
    pad_x: float
    pad_half_width: Annotated[float, Field(gt=0)]
    pad_from: float
    pad_to: float

    def finger(self, position: Floats) -> tuple[Floats, Floats]:
        """(x, z) of the finger frame in the gripper frame at positions 0 (open) .. 1 (closed), which are clipped."""
        import numpy as np

        angle = np.clip(position, 0.0, 1.0) * self.closing_angle
        cos, sin = np.cos(angle), np.sin(angle)
        x = self.pivot_x + self.crank_x * cos - self.crank_z * sin
        z = self.pivot_z + self.crank_x * sin + self.crank_z * cos
        return x, z

    def aperture(self, position: Floats) -> Floats:
        """The distance between the pads in m."""
        return 2 * (self.finger(position)[0] + self.pad_x)

    def pad(self, count: int) -> Floats:
        """(count, 3) points on the pad in the finger frame: the centres of a grid of cells, row by row.

        The grid has as many rows and columns as come nearest to square cells, rows along z. The same `count` gives the
        same points always, so that point k of any two episodes is the same spot of the same finger.
        """
        import numpy as np

        rows, columns = _grid(count, (self.pad_to - self.pad_from) / (2 * self.pad_half_width))
        z = self.pad_from + (np.arange(rows) + 0.5) * (self.pad_to - self.pad_from) / rows
        y = -self.pad_half_width + (np.arange(columns) + 0.5) * 2 * self.pad_half_width / columns
        zz, yy = np.meshgrid(z, y, indexing="ij")
        return np.stack([np.full(count, self.pad_x), yy.reshape(-1), zz.reshape(-1)], axis=-1)


def _grid(count: int, aspect: float) -> tuple[int, int]:
    """(rows, columns) with rows * columns = count and rows / columns nearest to `aspect`, by ratio."""
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] / aspect)))


#: The Robotiq 2F-85 of DROID. Linkage: the joint origins of its URDF; 0.725 rad is that URDF's limit for a closed
#: gripper (at 0.8, which others use, the pads pass through each other by 7 mm). The pad is 22 x 37 mm.
ROBOTIQ_2F85: Final = GripperProfile(
    name="robotiq_2f85",
    pivot_x=0.0127,
    pivot_z=0.0693075,
    crank_x=0.0345853,
    crank_z=0.0454970,
    closing_angle=0.725,
    mount_yaw=math.pi / 2,
    pad_x=-0.0078,
    pad_half_width=0.011,
    pad_from=0.007,
    pad_to=0.044,
)
PROFILES: Final = {profile.name: profile for profile in (ROBOTIQ_2F85,)}


def _by_name(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in PROFILES:
        raise ValueError(
            f"there is no gripper {value!r}; there are {', '.join(PROFILES)}, or give a table of its lengths"
        )
    return PROFILES[value]


#: A profile by its name, or as a table of its numbers.
Gripper = Annotated[GripperProfile, BeforeValidator(_by_name)]
