"""What the released calibration files say of an episode: their entries, as intrinsics and poses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from ..geometry import inverse, poses_of
from .values import Extrinsics, Intrinsics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .index import CalibrationIndex


def intrinsics(index: CalibrationIndex, uuid: str, serial: str) -> Intrinsics | None:
    """From `intrinsics.json`: a list in the order fx, cx, fy, cy, bare or as `cameraMatrix`. None: no such entry.

    Raises ValueError, TypeError for an entry that is none.
    """
    entry = (index.look_up("intrinsics", uuid) or {}).get(serial)
    if entry is None:
        return None
    known = entry if isinstance(entry, dict) else {"cameraMatrix": entry}
    fx, cx, fy, cy = (float(number) for number in known["cameraMatrix"])
    lens = [float(number) for number in _flat(known.get("distCoeffs") or [])][:5]
    size = int(known.get("width") or 1280), int(known.get("height") or 720)
    distortion = tuple(lens + [0.0] * (5 - len(lens)))
    return Intrinsics(fx, fy, cx, cy, *size, "release", distortion)


def poses(index: CalibrationIndex, uuid: str, serial: str) -> Iterator[Extrinsics]:
    """The released poses of an external camera in the robot base, the best first."""
    for table in ("superset", "cam2base"):
        entry = index.look_up(table, uuid)
        if isinstance(entry, dict) and _is_vector(vector := entry.get(serial)):
            others = {key: value for key, value in entry.items() if not key.isdigit() and key != "relative_path"}
            yield Extrinsics(poses_of(vector), table, others or None)


def pose_from_other(index: CalibrationIndex, uuid: str, known: Extrinsics, *, ext1: bool) -> Extrinsics | None:
    """The pose of ext1 (or else ext2) from the `known` one of the other external camera, by `cam2cam_extrinsics.json`.

    Its left camera is ext1, its right one ext2, each with a pose in a frame that the two share. Raises ValueError,
    TypeError, KeyError for an entry that is none.
    """
    import numpy as np

    entry = index.look_up("cam2cam", uuid)
    if entry is None:
        return None
    left, right = (np.asarray(entry[side]["pose"], np.float64) for side in ("left_cam", "right_cam"))
    ext2_from_ext1 = inverse(right) @ left
    step = ext2_from_ext1 if ext1 else inverse(ext2_from_ext1)
    return Extrinsics(known.pose @ step, "cam2cam", {"from": known.source})


def wrist_offset(index: CalibrationIndex, uuid: str) -> Extrinsics | None:
    """The wrist camera's pose in the flange, by "LAB|timestamp", of which the uuid is made."""
    lab, _, rest = uuid.partition("+")
    vector = index.look_up("wrist", f"{lab}|{rest.partition('+')[2]}")
    return Extrinsics(poses_of(vector), "wrist_table") if _is_vector(vector) else None


def _is_vector(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 6 and all(isinstance(number, (int, float)) for number in value)


def _flat(value: Any) -> Iterator[Any]:
    for item in value:
        yield from _flat(item) if isinstance(item, list) else (item,)
