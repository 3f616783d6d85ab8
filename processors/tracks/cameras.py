"""The cameras of an episode as the tracks stage sees them: which there are, their image size, their poses over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..calibration.ladder import climb
from ..errors import EpisodedError
from ..formats.droid_files import ROLES, find_cameras

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..calibration.ladder import Calibration
    from ..calibration.values import Extrinsics, Intrinsics
    from ..formats.droid import DroidEpisode
    from ..formats.droid_files import DroidCamera, Role
    from ..formats.droid_state import RobotState
    from ..media.video import VideoInfo
    from .params import TracksParams

    Floats = NDArray[np.float64]

#: Wider than this, an image is two views side by side: some of these files lack the suffix `-stereo`.
_SIDE_BY_SIDE: Final = 1.5 * 16 / 9


@dataclass(frozen=True)
class SeenCamera:
    """A camera with what is known of it. `intrinsics` are at the size of its video, where there is one.

    `extrinsics`: the pose in the base, or for the wrist camera the offset in the flange. `frames`: pictures in its
    video, None without one.
    """

    recorded: DroidCamera
    intrinsics: Intrinsics | None
    extrinsics: Extrinsics | None
    frames: int | None
    flags: tuple[str, ...] = ()

    @property
    def serial(self) -> str:
        """The camera's serial number, by which all that belongs to it is named."""
        return self.recorded.serial

    @property
    def is_wrist(self) -> bool:
        """Whether it rides on the robot's wrist."""
        return self.recorded.role == "wrist"

    def poses(self, flange: Floats) -> Floats | None:
        """(4, 4), or (T, 4, 4) on the wrist: the camera in the base, for (T, 4, 4) flange poses."""
        if self.extrinsics is None:
            return None
        return flange @ self.extrinsics.pose if self.is_wrist else self.extrinsics.pose


@dataclass(frozen=True)
class Cameras:
    """All cameras of an episode, wrist first, and what is to be said of them together."""

    all: tuple[SeenCamera, ...]
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def wrist(self) -> SeenCamera | None:
        """The one on the wrist."""
        return next((camera for camera in self.all if camera.is_wrist), None)

    @property
    def external(self) -> tuple[SeenCamera, ...]:
        """Those that stand beside the robot."""
        return tuple(camera for camera in self.all if not camera.is_wrist)


def look_at_cameras(episode: DroidEpisode, state: RobotState, params: TracksParams) -> Cameras:
    """Find the cameras of an episode, measure their videos, and go up the calibration ladder for each.

    Raises EpisodedError for a calibration folder that cannot be used.
    """
    recorded, notes = list_cameras(episode, state)
    calibration = climb(episode.id, episode.folder, recorded, state, params)
    seen = tuple(_look_at(camera, calibration) for camera in recorded)
    return Cameras(seen, tuple(calibration.passed_over), tuple(notes))


def list_cameras(episode: DroidEpisode, state: RobotState) -> tuple[tuple[DroidCamera, ...], list[str]]:
    """The cameras of the metadata and, for roles that it does not name, those of the trajectory; and notes.

    Never the keys of `camera_extrinsics`: those hold cameras of other rigs.
    """
    notes = [
        f"camera {camera.serial} of the metadata is not among the trajectory's cameras"
        for camera in episode.recorded
        if state.kinds and camera.serial not in state.kinds
    ]
    named = {camera.role: camera.serial for camera in episode.recorded}
    others = sorted(set(state.kinds) - set(named.values()))
    free = [role for role in ROLES if role not in named]
    found: dict[Role, str] = {}
    for serial in others:
        wanted = [role for role in free if (role == "wrist") == (state.kinds[serial] == "wrist")]
        if wanted:
            found[wanted[0]] = serial
            free.remove(wanted[0])
            notes.append(f"camera {serial} is taken for {wanted[0]}, by the trajectory: the metadata does not name it")
    cameras = (*episode.recorded, *find_cameras(episode.folder, found, {}))
    return tuple(sorted(cameras, key=lambda camera: ROLES.index(camera.role))), notes


def _look_at(camera: DroidCamera, calibration: Calibration) -> SeenCamera:
    intrinsics = calibration.intrinsics.get(camera.serial)
    flags: list[str] = []
    size: tuple[int, int] | None = None
    frames: int | None = None
    if (video := _measure(camera, flags)) is not None:
        frames = video.frames
        size = left_view_of(video.width, video.height)
    if intrinsics and size and (fitted := intrinsics.at(*size)) is None:
        flags.append(
            f"aspect_mismatch: {camera.serial} is {size[0]}x{size[1]} in its video, its intrinsics are for "
            f"{intrinsics.width}x{intrinsics.height}: left as they are"
        )
    elif intrinsics and size:
        intrinsics = fitted
    flags += _about_calibration(camera, intrinsics, calibration.extrinsics.get(camera.serial))
    return SeenCamera(camera, intrinsics, calibration.extrinsics.get(camera.serial), frames, tuple(flags))


def left_view_of(width: int, height: int) -> tuple[int, int]:
    """The size of the left view in a video of this size, which may show both views side by side."""
    return (width // 2 if width > height * _SIDE_BY_SIDE else width), height


def _measure(camera: DroidCamera, flags: list[str]) -> VideoInfo | None:
    from ..media.video import probe

    for path in (camera.mp4, camera.stereo):
        if path is None:
            continue
        try:
            return probe(path)
        except EpisodedError as error:
            flags.append(f"{error.code}: {path.name} cannot be read")
    return None


def _about_calibration(
    camera: DroidCamera, intrinsics: Intrinsics | None, extrinsics: Extrinsics | None
) -> Iterator[str]:
    if intrinsics is None:
        yield f"no_intrinsics: {camera.serial}"
    elif intrinsics.source == "nominal":
        yield f"nominal_intrinsics: {camera.serial}, {intrinsics.detail}"
    if extrinsics is None:
        yield f"no_extrinsics: {camera.serial}"
