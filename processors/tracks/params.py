"""Settings of the tracks stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .gripper import ROBOTIQ_2F85, Gripper


def _absolute(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise ValueError("expected an absolute path: a service has no working directory to start from")
    return path


Folder = Annotated[Path, AfterValidator(_absolute)]


class TracksParams(BaseModel):
    """The `tracks` table of a pipeline.

    `points_per_finger`: n; `tracks.npz` has N = 2 n points. `gripper`: the name of a profile, or a table of its
    lengths. `calibration`: the folder of DROID's released calibrations, indexed by `episoded calibration index`.
    `stereolabs`: a folder of the factory calibrations `SN<serial>.conf`. `zed_sdk`: ask the ZED SDK for intrinsics
    where there is an SVO and nothing better. `require_calibration`: fail an episode that lacks a pose or real
    intrinsics of a camera, instead of leaving out what cannot be computed. `min_depth_m`: points nearer to a camera's
    plane than this have no pixel. `time_align`: project with the robot's pose at each row ("step"), or as it was when
    the camera captured its image ("capture").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    points_per_finger: Annotated[int, Field(ge=1, le=10_000)] = 128
    gripper: Gripper = ROBOTIQ_2F85
    calibration: Folder | None = None
    stereolabs: Folder | None = None
    zed_sdk: bool = False
    require_calibration: bool = False
    min_depth_m: Annotated[float, Field(gt=0)] = 0.01
    time_align: Literal["step", "capture"] = "step"
