"""The arrays of `tracks.npz` and `extrinsics.npz`. `docs/droid.md` has shape, unit, frame and formula of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import InputError
from .contact import contact_of
from .project import project
from .resample import STEP_MM, arc_length, resample
from .trajectory import at_capture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..formats.droid_state import RobotState
    from .cameras import Cameras, SeenCamera
    from .contact import Contact
    from .params import TracksParams
    from .trajectory import Trajectory

    Floats = NDArray[np.float64]

SCHEMA: Final = 1
#: A hand that travelled farther was not measured but torn about: 60 times what an episode usually has.
_LONGEST_MM: Final = 200_000.0


def tracks_of(state: RobotState, motion: Trajectory, cameras: Cameras, params: TracksParams) -> dict[str, Any]:
    """The content of `tracks.npz`. Raises InputError (`path_impossible`)."""
    contact = contact_of(motion.flange, motion.gripper, params.gripper, params.points_per_finger)
    _refuse_impossible(contact, motion.valid)
    steps = resample(contact, motion.valid)
    points = contact.points()
    arrays = {
        "schema_version": np.int64(SCHEMA),
        "tracks_3d": points,
        "contact_points_local": _f32(contact.pad),
        "num_points_per_finger": np.int64(len(contact.pad)),
        "num_frames": np.int64(state.length),
        "num_normalized_steps": np.int64(len(steps.distance)),
        "fps": np.float64(motion.fps),
        "timestamps_s": motion.times_s,
        "frame_valid": motion.valid,
        "gripper_poses": _f32(contact.gripper),
        "gripper_positions": state.gripper,
        "cartesian_positions": state.cartesian,
        "contact_centroids": _f32(contact.centroids),
        "contact_frames": _f32(contact.frames),
        "left_contact_frames": _f32(contact.left_contact),
        "right_contact_frames": _f32(contact.right_contact),
        "cumulative_distance_mm": _f32(steps.travelled),
        "normalized_distance_mm": steps.distance,
        "normalized_centroids": _f32(steps.centroids),
        "normalized_tracks_3d": steps.points,
        "normalized_frames": _f32(steps.frames),
        "normalized_left_frames": _f32(steps.left),
        "normalized_right_frames": _f32(steps.right),
        "frame_to_normalized_idx": steps.nearest,
        "normalized_step_size_mm": np.float64(STEP_MM),
    }
    seen = [camera for camera in cameras.all if camera.intrinsics and camera.extrinsics]
    for camera in seen:
        arrays |= _seen_by(camera, points, state, motion, params)
    arrays["cameras_with_2d_tracks"] = np.array([camera.serial for camera in seen], dtype="<U16")
    return arrays


def extrinsics_of(motion: Trajectory, cameras: Cameras) -> dict[str, Any]:
    """The content of `extrinsics.npz`."""
    arrays: dict[str, Any] = {"schema_version": np.int64(SCHEMA), "num_frames": np.int64(len(motion.valid))}
    for camera in cameras.external:
        if (pose := camera.poses(motion.flange)) is not None:
            arrays[f"external_{camera.serial}"] = pose
    wrist = cameras.wrist
    if wrist is not None and wrist.extrinsics is not None:
        arrays["wrist_extrinsics"] = wrist.poses(motion.flange)
        arrays["wrist_offset"] = wrist.extrinsics.pose
    arrays["wrist_serial"] = np.array(wrist.serial if wrist else "", dtype="<U16")
    for camera in cameras.all:
        source = camera.extrinsics.source if camera.extrinsics else "none"
        arrays[f"extrinsics_source_{camera.serial}"] = np.array(source, dtype="<U16")
    return arrays


def _seen_by(
    camera: SeenCamera, points: NDArray[np.float32], state: RobotState, motion: Trajectory, params: TracksParams
) -> dict[str, Any]:
    """What one camera adds to the tracks."""
    serial, known = camera.serial, camera.intrinsics
    assert known is not None
    captured = state.captured_ms.get(serial)
    if params.time_align == "capture" and (then := at_capture(motion, captured)) is not motion:
        motion = then
        points = contact_of(motion.flange, motion.gripper, params.gripper, params.points_per_finger).points()
    matrix = np.array(known.matrix)
    lens = () if known.rectified else known.distortion
    poses = camera.poses(motion.flange)
    assert poses is not None
    arrays: dict[str, Any] = {
        f"tracks_2d_{serial}": project(points, poses, matrix, lens, params.min_depth_m),
        f"intrinsics_{serial}": matrix,
        f"image_size_{serial}": np.array([known.width, known.height], np.int32),
    }
    if captured is not None and state.read_ms is not None:
        arrays[f"capture_lag_ms_{serial}"] = (state.read_ms - captured).astype(np.float32)
    return arrays


def _refuse_impossible(contact: Contact, valid: NDArray[np.bool_]) -> None:
    travelled = float(arc_length(contact.centroids[valid])[-1])
    if travelled > _LONGEST_MM:
        raise InputError(
            "path_impossible",
            f"the gripper would have travelled {travelled / 1000:.0f} m: its recorded positions jump about",
            "look at observation/robot_state/cartesian_position; record the episode again, or remove it",
        )


def _f32(values: Floats) -> NDArray[np.float32]:
    return values.astype(np.float32)
