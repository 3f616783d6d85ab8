"""The quality report of a DROID episode: `quality.json`. `docs/droid.md` explains each key.

The same input gives the same report: nothing in it depends on when, where or by whom it was made, and nothing names a
person.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..calibration.ladder import baseline_m
from ..formats.droid_files import missing_files
from ..geometry import angles_between, poses_of
from .panda import flange_poses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..formats.droid import DroidEpisode
    from ..formats.droid_state import RobotState
    from .cameras import Cameras
    from .params import TracksParams
    from .trajectory import Trajectory

SCHEMA: Final = 1
#: Recorded flange poses and joints that belong together agree to 0.0001 mm; another robot's are centimetres off.
_FK_TOLERANCE_MM: Final = 1.0
#: The convention of the pose vectors is told from the wrist camera, whose recorded poses must follow the flange.
_RIGID_TOLERANCE_MM: Final = 1.0
#: Settings that are worth a mention. Not the paths: they name this machine's folders, and perhaps its people.
_MENTIONED: Final = {"points_per_finger", "min_depth_m", "time_align", "require_calibration"}


def report(
    episode: DroidEpisode,
    state: RobotState,
    motion: Trajectory,
    cameras: Cameras,
    tracks: Mapping[str, Any],
    params: TracksParams,
    version: int,
) -> dict[str, Any]:
    """Everything that is to be said of an episode; values of JSON only."""
    assert episode.metadata is not None
    measured = _checks(state, motion, cameras, tracks)
    return {
        "schema_version": SCHEMA,
        "episode_id": episode.id,
        "source_path": episode.metadata.source,
        "outcome": episode.metadata.outcome,
        "droid_version": episode.metadata.version,
        "num_frames": state.length,
        "num_track_points": 2 * params.points_per_finger,
        "fps": motion.fps,
        **_about_cameras(cameras, tracks, state.length),
        "checks": measured,
        "flags": [*motion.flags, *(flag for camera in cameras.all for flag in camera.flags), *_suspicious(measured)],
        "notes": [*episode.notes, *state.notes, *cameras.notes, *(f"passed over: {x}" for x in cameras.passed_over)],
        "generator": {
            "name": "episoded",
            "stage": "tracks",
            "version": version,
            "gripper": params.gripper.name,
            "parameters": params.model_dump(mode="json", include=_MENTIONED),
        },
    }


def _about_cameras(cameras: Cameras, tracks: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Which cameras there are, where what is known of them comes from, and what was recorded."""
    poses = {camera.serial: camera.extrinsics for camera in cameras.all}
    lenses = {camera.serial: camera.intrinsics for camera in cameras.all}
    outside = [camera.serial for camera in cameras.external]
    found = {serial: pose for serial in outside if (pose := poses[serial])}
    return {
        "external_cameras": outside,
        "wrist_camera": cameras.wrist.serial if cameras.wrist else None,
        "cameras_with_2d_tracks": [str(serial) for serial in tracks["cameras_with_2d_tracks"]],
        "cam2base_calibration": {
            serial: {"source": pose.source, "quality": pose.quality} for serial, pose in found.items()
        },
        "extrinsics_source": {serial: pose.source if pose else None for serial, pose in poses.items()},
        "intrinsics_source": {serial: lens.source if lens else None for serial, lens in lenses.items()},
        "video_frames": {camera.serial: camera.frames for camera in cameras.all},
        "rows_without_frame": {
            camera.serial: None if camera.frames is None else rows - camera.frames for camera in cameras.all
        },
        "missing": {camera.serial: list(missing_files(camera.recorded)) for camera in cameras.all},
    }


def to_json(value: Mapping[str, Any]) -> bytes:
    """Indented, for people; what is not finite becomes null, which JSON has a word for."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checks(state: RobotState, motion: Trajectory, cameras: Cameras, tracks: Mapping[str, Any]) -> dict[str, Any]:
    rigid = _wrist_error(state, motion, cameras)
    return {
        "fk_max_err_mm": _fk_error(state, motion),
        "wrist_rigid_err_mm": rigid[0] if rigid else None,
        "wrist_rigid_err_deg": rigid[1] if rigid else None,
        "euler_ok": None if rigid is None else rigid[0] < _RIGID_TOLERANCE_MM,
        "stereo_baseline_mm": {
            camera.serial: None if (found := baseline_m(state, camera.serial)) is None else round(1000 * found, 3)
            for camera in cameras.all
        },
        "in_image_fraction": {
            serial: _in_image(tracks[f"tracks_2d_{serial}"], tracks[f"image_size_{serial}"])
            for serial in map(str, tracks["cameras_with_2d_tracks"])
        },
        "nan_rows": int((~motion.valid).sum()),
        "duplicate_stamps": None if state.read_ms is None else int((np.diff(state.read_ms) == 0).sum()),
        "path_length_mm": float(tracks["normalized_distance_mm"][-1]),
        "stale_extrinsics_ignored": list(state.stale),
    }


def _fk_error(state: RobotState, motion: Trajectory) -> float | None:
    """The largest distance in mm between the recorded flange positions and those of the joints."""
    if state.joints is None:
        return None
    rows = motion.valid & np.isfinite(state.joints).all(axis=1)
    if not rows.any():
        return None
    off = flange_poses(state.joints[rows])[:, :3, 3] - state.cartesian[rows, :3]
    return float(1000 * np.linalg.norm(off, axis=1).max())


def _wrist_error(state: RobotState, motion: Trajectory, cameras: Cameras) -> tuple[float, float] | None:
    """By how much, in mm and degrees, the recorded poses of the wrist camera do not follow the flange."""
    serial = cameras.wrist.serial if cameras.wrist else ""
    if serial not in state.offsets or serial not in state.poses:
        return None
    rows = motion.valid & np.isfinite(state.offsets[serial]).all(axis=1) & np.isfinite(state.poses[serial]).all(axis=1)
    if not rows.any():
        return None
    carried = motion.flange[rows] @ poses_of(state.offsets[serial][rows])
    recorded = poses_of(state.poses[serial][rows])
    off = np.linalg.norm(carried[:, :3, 3] - recorded[:, :3, 3], axis=1)
    turned = angles_between(carried[:, :3, :3], recorded[:, :3, :3])
    return float(1000 * off.max()), float(np.degrees(turned.max()))


def _in_image(pixels: Any, size: Any) -> float:
    """The part of all points that this camera has in its image; what hides them is not known."""
    with np.errstate(invalid="ignore"):
        u, v = pixels[..., 0], pixels[..., 1]
        inside = (u > -0.5) & (u < size[0] - 0.5) & (v > -0.5) & (v < size[1] - 0.5)
    return round(float(inside.mean()), 6)


def _suspicious(measured: Mapping[str, Any]) -> list[str]:
    flags = []
    if (off := measured["fk_max_err_mm"]) is not None and off > _FK_TOLERANCE_MM:
        flags.append(f"fk_mismatch: flange positions are up to {off:.1f} mm off the joints'")
    if measured["euler_ok"] is False:
        flags.append(f"wrist_not_rigid: its poses are up to {measured['wrist_rigid_err_mm']:.1f} mm off the flange's")
    for serial, fraction in measured["in_image_fraction"].items():
        if fraction < 0.01:
            flags.append(f"not_in_view: {serial} has {100 * fraction:.1f} % of the points in its image")
    return flags
