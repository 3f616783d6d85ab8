"""The files of one raw DROID episode: its metadata, and what was recorded of each camera.

Only the trajectory must be there. Everything else is used as far as it exists; what does not is listed as missing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import InputError
from ..media.lfs import refuse_pointer
from .droid_tree import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Role = Literal["wrist", "ext1", "ext2"]
ROLES: Final[tuple[Role, ...]] = ("wrist", "ext1", "ext2")
_SERIAL: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class DroidCamera:
    """One camera of an episode and the files of it that exist.

    `mp4`: the left view, rectified. `stereo`: left and right side by side. `svo`: the camera's own container.
    `stamps`: milliseconds of each video frame. `pose`: the recorded pose in the robot base at the first step, as
    (x, y, z, roll, pitch, yaw) in m and rad, from the metadata.
    """

    serial: str
    role: Role
    mp4: Path | None = None
    stereo: Path | None = None
    svo: Path | None = None
    stamps: Path | None = None
    pose: tuple[float, ...] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that exist."""
        return tuple(path for path in (self.mp4, self.stereo, self.svo, self.stamps) if path)


@dataclass(frozen=True, slots=True)
class DroidMetadata:
    """What the metadata file says, as far as it is used. The collector's name is not among it, on purpose.

    `source`: where the episode lies in the data set, "LAB/success/DATE/FOLDER".
    """

    uuid: str
    lab: str
    outcome: Literal["success", "failure"] | None
    source: str
    version: str | None
    serials: Mapping[Role, str]
    poses: Mapping[Role, tuple[float, ...]]
    notes: tuple[str, ...]


def read_metadata(path: Path, uuid: str) -> DroidMetadata:
    """Read `metadata_<uuid>.json`. What is missing in it is a note, not an error.

    Raises InputError: `metadata_unreadable`, `lfs_pointer`. Raises OSError.
    """
    content = path.read_bytes()
    refuse_pointer(content[:64], path)
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(raw, dict):
        raise _unreadable(path, "it holds no JSON object")
    notes = [] if raw.get("uuid", uuid) == uuid else [f"the metadata says uuid {raw['uuid']}, its file name {uuid}"]
    serials = {role: str(raw[f"{role}_cam_serial"]) for role in ROLES if _is_serial(raw.get(f"{role}_cam_serial"))}
    poses = {role: pose for role in ROLES if (pose := _pose(raw.get(f"{role}_cam_extrinsics")))}
    notes += [f"the metadata names no {role} camera" for role in ROLES if role not in serials]
    lab = str(raw.get("lab") or uuid.split("+", maxsplit=1)[0])
    success = raw.get("success")
    return DroidMetadata(
        uuid=uuid,
        lab=lab,
        outcome=None if success is None else "success" if success else "failure",
        source=_source(lab, raw.get("hdf5_path")),
        version=_text(raw.get("droid_version", raw.get("r2d2_version"))),
        serials=serials,
        poses=poses,
        notes=tuple(notes),
    )


def find_cameras(folder: Path, serials: Mapping[Role, str], poses: Mapping[Role, Any]) -> tuple[DroidCamera, ...]:
    """The cameras of the episode in `folder`, with the files of each that exist."""
    recordings = folder / RECORDINGS
    return tuple(
        DroidCamera(
            serial,
            role,
            mp4=_first(recordings / "MP4" / f"{serial}.mp4", recordings / f"{serial}.mp4"),
            stereo=_first(recordings / "MP4" / f"{serial}-stereo.mp4", recordings / f"{serial}-stereo.mp4"),
            svo=_first(*_svos(recordings, serial)),
            stamps=_first(recordings / "MP4" / f"{serial}_timestamps.json", recordings / f"{serial}_timestamps.json"),
            pose=poses.get(role),
        )
        for role, serial in serials.items()
    )


def without_video(camera: DroidCamera) -> InputError | None:
    """Why nothing can be made of a camera's pictures; None when there is a video."""
    if camera.mp4 or camera.stereo:
        return None
    if camera.svo is None:
        return InputError(
            "depth_no_input",
            f"camera {camera.serial} has no recording: neither an MP4 nor an SVO",
            "add its recording to the episode's folder, then retry",
        )
    return InputError(
        "svo_needs_zed_sdk",
        f"camera {camera.serial} has only {camera.svo.name}, which nothing but the ZED SDK opens; "
        f"recordings/MP4/{camera.serial}-stereo.mp4 and {camera.serial}.mp4 are missing",
        f"download {camera.serial}-stereo.mp4 of this episode, or export it from the SVO with the ZED SDK "
        "(ZED_SVO_Editor; it needs an NVIDIA GPU), then retry",
    )


def missing_files(camera: DroidCamera) -> Iterator[str]:
    """What a complete recording of this camera would have besides."""
    if camera.mp4 is None:
        yield "mp4"
    if camera.stereo is None:
        yield "stereo mp4"
    if camera.svo is None:
        yield "svo"
    if camera.stamps is None:
        yield "timestamps"


def _svos(recordings: Path, serial: str) -> Iterator[Path]:
    for suffix in ("svo", "svo2"):
        yield recordings / "SVO" / f"{serial}.{suffix}"
        yield recordings / f"{serial}.{suffix}"


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _is_serial(value: object) -> bool:
    return _SERIAL.fullmatch(str(value)) is not None


def _pose(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != 6:
        return None
    try:
        return tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None


def _source(lab: str, hdf5_path: object) -> str:
    folder = str(hdf5_path).rpartition("/")[0] if isinstance(hdf5_path, str) else ""
    return f"{lab}/{folder}" if folder else lab


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(
        "metadata_unreadable",
        f"{path} is no JSON object: {reason}",
        "copy this file again from the data set, then retry",
    )
