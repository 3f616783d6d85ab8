"""Intrinsics and poses with the source that they come from, and what nonsense looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[Any]

#: A camera of these robots stands on the same table.
_FARTHEST_M: Final = 5.0
#: Focal lengths of every lens that ZED cameras have, in pixels of an image 1280 wide, with room.
_SHORTEST, _LONGEST, _AT_WIDTH = 200.0, 1500.0, 1280
#: How far from the middle a principal point may lie, as a fraction of the image.
_OFF_CENTRE: Final = 0.25
#: HD720 and VGA show the sensor differently: VGA is 1344 x 752 pixels of it at half the size, HD720 the middle 1280 x
#: 720 of those.
_HD720, _VGA = (1280, 720), (672, 376)
#: Aspect ratios that differ by more are another part of the sensor, not another size.
_SAME_ASPECT: Final = 0.01


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole camera. fx, fy, cx, cy in pixels of an image of `width` x `height`; (0, 0) is a pixel's centre.

    `distortion`: k1, k2, p1, p2, k3 of the lens; meant for unrectified images only. `rectified`: the numbers are those
    of rectified images, as DROID's MP4s are. `source`: the rung of the ladder; `detail`: what else is known of it.
    `baseline_m`: between the camera's two lenses, in m, and where that comes from.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    source: str
    distortion: tuple[float, ...] = (0.0,) * 5
    rectified: bool = True
    detail: str = ""
    baseline_m: float | None = None
    baseline_source: str = ""

    @property
    def matrix(self) -> tuple[tuple[float, float, float], ...]:
        """K, 3 x 3."""
        return ((self.fx, 0.0, self.cx), (0.0, self.fy, self.cy), (0.0, 0.0, 1.0))

    def at(self, width: int, height: int) -> Intrinsics | None:
        """The same camera in an image of another size; None where that is no other size of the same picture.

        Between pixel centres, u' + 1/2 = (u + 1/2) s.
        """
        if (width, height) == (self.width, self.height):
            return self
        if (self.width, self.height) == _HD720 and (width, height) == _VGA:
            wide = replace(self, width=1344, height=752, cx=self.cx + 32, cy=self.cy + 16)
            return wide._scaled(width, height)
        if abs((self.width / self.height) / (width / height) - 1) > _SAME_ASPECT:
            return None
        return self._scaled(width, height)

    def _scaled(self, width: int, height: int) -> Intrinsics:
        across, down = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
            width=width,
            height=height,
        )

    def nonsense(self) -> str:
        """Why these cannot be the numbers of such a camera, in words; "" when they can."""
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(number) for number in numbers) or min(self.width, self.height) < 1:
            return "not finite numbers, or no image size"
        for name, focal in (("fx", self.fx), ("fy", self.fy)):
            if not _SHORTEST <= focal * _AT_WIDTH / self.width <= _LONGEST:
                return f"{name} = {focal:g} px in an image {self.width} wide"
        for name, centre, size in (("cx", self.cx, self.width), ("cy", self.cy, self.height)):
            if abs(centre - size / 2) > _OFF_CENTRE * size:
                return f"{name} = {centre:g} px of {size}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The content of `intrinsics.json`: the keys that the DROID tools read, and where they come from."""
        names = ("k1", "k2", "p1", "p2", "k3")
        return {
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "width": self.width,
            "height": self.height,
            **dict(zip(names, self.distortion, strict=True)),
            "rectified": self.rectified,
            "baseline_m": self.baseline_m,
            "baseline_source": self.baseline_source,
            "source": self.source,
            "detail": self.detail,
        }


def intrinsics_from_json(value: Mapping[str, Any], source: str) -> Intrinsics:
    """The inverse of `to_json`; other keys are not needed. Raises KeyError, TypeError, ValueError."""
    fx, fy, cx, cy = (float(value[key]) for key in ("fx", "fy", "cx", "cy"))
    lens = tuple(float(value.get(key) or 0.0) for key in ("k1", "k2", "p1", "p2", "k3"))
    width, height = int(value["width"]), int(value["height"])
    rectified = bool(value.get("rectified", True))
    came_from = f"it says: {value['source']}" if value.get("source") else ""
    known = Intrinsics(fx, fy, cx, cy, width, height, source, lens, rectified, came_from)
    if not value.get("baseline_m"):
        return known
    return replace(
        known, baseline_m=float(value["baseline_m"]), baseline_source=str(value.get("baseline_source", source))
    )


@dataclass(frozen=True, slots=True)
class Extrinsics:
    """A camera's pose (4, 4) in the robot base, or for the wrist camera its offset in the flange; m.

    `quality`: what the source says of it; the measures of two sources are not comparable.
    """

    pose: Floats
    source: str
    quality: Any = None

    def nonsense(self) -> str:
        """Why this cannot be such a pose, in words; "" when it can."""
        import numpy as np

        if self.pose.shape != (4, 4) or not np.isfinite(self.pose).all():
            return "not 4 x 4 finite numbers"
        rotation = self.pose[:3, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-4 or np.linalg.det(rotation) < 0:
            return "its rotation is none"
        if (distance := float(np.linalg.norm(self.pose[:3, 3]))) >= _FARTHEST_M:
            return f"{distance:.1f} m from the robot"
        return ""
