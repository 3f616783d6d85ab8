"""Simulated raw DROID episodes, for tests and benchmarks: a smooth motion with joints, cameras and stamps that agree.

No videos: what the tracks stage makes needs none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_OFFSET: Final = (-0.078, 0.040, -0.006, -0.333, 0.048, -1.583)
_POSES: Final = {"ext1": (0.23, 0.61, 0.29, -1.98, -0.01, -2.43), "ext2": (0.13, -0.42, 0.30, -2.0, 0.05, -1.07)}
_HOME: Final = (0.0, -0.6, 0.0, -2.4, 0.0, 1.9, 0.6)
_STEP_MS: Final = 71
_SERIALS: Final = {"wrist": "18026681", "ext1": "22008760", "ext2": "24400334"}


def record_droid(
    root: Path, *, episodes: int = 1, rows: int = 20, lab: str = "SIMLab", serials: dict[str, str] | None = None
) -> list[str]:
    """Write a tree of episodes below `root`; their uuids. The same arguments write the same episodes."""
    cameras = _SERIALS if serials is None else serials
    return [_record_one(root, number, rows, lab, cameras) for number in range(episodes)]


def _record_one(root: Path, number: int, rows: int, lab: str, serials: dict[str, str]) -> str:
    hour, minute, second = number // 3600 % 24, number // 60 % 60, number % 60
    day = f"2023-08-{1 + number // 86400:02d}"
    uuid = f"{lab}+51{number:06x}+{day}-{hour:02d}h-{minute:02d}m-{second:02d}s"
    outcome = "failure" if number % 10 == 9 else "success"
    name = f"Tue_Aug__1_{hour:02d}:{minute:02d}:{second:02d}_2023"
    folder = root / lab / outcome / day / name
    folder.mkdir(parents=True)
    cartesian = _write_state(folder / "trajectory.h5", rows, number, serials)
    metadata = _metadata(uuid, lab, f"{outcome}/{day}/{name}", rows, serials, cartesian)
    (folder / f"metadata_{uuid}.json").write_text(json.dumps(metadata))
    return uuid


def _metadata(
    uuid: str, lab: str, place: str, rows: int, serials: dict[str, str], cartesian: Sequence[float]
) -> dict[str, Any]:
    from .geometry import poses_of

    wrist = vector_of(poses_of(cartesian) @ poses_of(_OFFSET))
    value: dict[str, Any] = {
        "uuid": uuid,
        "lab": lab,
        "user": "Ada Lovelace",
        "user_id": uuid.split("+")[1],
        "hdf5_path": f"{place}/trajectory.h5",
        "success": place.startswith("success"),
        "r2d2_version": "1.3",
        "trajectory_length": rows,
    }
    for role, serial in serials.items():
        value[f"{role}_cam_serial"] = serial
        value[f"{role}_cam_extrinsics"] = list(_POSES.get(role, wrist))
    return value


def _write_state(path: Path, rows: int, number: int, serials: dict[str, str]) -> list[float]:
    """The trajectory; returns the first flange pose vector."""
    import h5py
    import numpy as np

    from .geometry import poses_of
    from .tracks.panda import flange_poses

    phase = 0.1 * number + np.arange(rows)[:, None] / 40.0
    joints = np.array(_HOME) + np.sin(phase + np.arange(7)) * np.array([0.3, 0.2, 0.2, 0.3, 0.2, 0.2, 0.4])
    flange = flange_poses(joints)
    cartesian = np.array([vector_of(pose) for pose in flange])
    wrist = np.array([vector_of(pose) for pose in flange @ poses_of(_OFFSET)])
    stamps = 1_690_900_000_000 + np.arange(rows, dtype=np.int64) * _STEP_MS
    with h5py.File(path, "w") as file:
        robot = file.create_group("observation/robot_state")
        robot["cartesian_position"], robot["joint_positions"] = cartesian, joints
        robot["gripper_position"] = np.clip(np.sin(phase[:, 0]), 0, 1)
        file["observation/timestamp/robot_state/read_start"] = stamps
        for role, serial in serials.items():
            file[f"observation/camera_type/{serial}"] = np.full(rows, role != "wrist", np.int64)
            file[f"observation/timestamp/cameras/{serial}_estimated_capture"] = stamps - 43
            poses = wrist if role == "wrist" else np.tile(_POSES[role], (rows, 1))
            file[f"observation/camera_extrinsics/{serial}_left"] = poses
            if role == "wrist":
                offsets = np.tile(_OFFSET, (rows, 1))
                file[f"observation/camera_extrinsics/{serial}_left_gripper_offset"] = offsets
        # As in real episodes: what the collector's computer knew of other rigs' cameras.
        file["observation/camera_extrinsics/19824535_left"] = np.tile(_OFFSET, (rows, 1))
    return [float(number) for number in cartesian[0]] if rows else [0.0] * 6


def vector_of(pose: Floats) -> list[float]:
    """The (x, y, z, roll, pitch, yaw) of a (4, 4) pose."""
    import math

    roll = math.atan2(pose[2, 1], pose[2, 2])
    pitch = math.atan2(-pose[2, 0], math.hypot(pose[2, 1], pose[2, 2]))
    yaw = math.atan2(pose[1, 0], pose[0, 0])
    return [*(float(x) for x in pose[:3, 3]), roll, pitch, yaw]
