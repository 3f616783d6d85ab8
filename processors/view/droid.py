"""A finished DROID episode in Rerun: the robot's frame, the gripper's pads and path, cameras, pixels, video and depth.

Which row of the trajectory the video's first frame belongs to is not known (it has one frame fewer than rows): frame k
is shown at row k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import EpisodedError, InputError
from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..formats.droid import DroidEpisode
    from .recording import Video

LEFT_COLOUR: Final = (240, 150, 30)
RIGHT_COLOUR: Final = (60, 150, 240)
_FRUSTUM_M: Final = 0.12
_AXIS_M: Final = 0.1
_HAND_AXIS_M: Final = 0.05
_RADIUS_M: Final = 0.0012
_RADIUS_PX: Final = 1.5


class Finished:
    """The outputs of an episode: `tracks` and `extrinsics` by array name; where its videos and depth lie."""

    def __init__(self, episode: DroidEpisode) -> None:
        """Raise InputError (`not_finished`) where there are none."""
        self.episode = episode
        self.folder = episode.output / episode.id
        self.tracks = _arrays(self.folder / "tracks.npz")
        self.extrinsics = _arrays(self.folder / "extrinsics.npz")
        self.rows = int(self.tracks["num_frames"])

    @property
    def seconds(self) -> Any:
        """(T,) from the first row; by the rate where the time stamps are not known."""
        stamps = self.tracks["timestamps_s"]
        known = np.isfinite(stamps).all()
        return stamps - stamps[0] if known else np.arange(self.rows) / float(self.tracks["fps"])

    @property
    def serials(self) -> list[str]:
        """Cameras with everything that a projection takes."""
        return [str(serial) for serial in self.tracks["cameras_with_2d_tracks"]]

    def poses(self, serial: str) -> Any:
        """(4, 4), or (T, 4, 4) for the wrist camera."""
        if serial == str(self.extrinsics["wrist_serial"]):
            return self.extrinsics["wrist_extrinsics"]
        return self.extrinsics[f"external_{serial}"]

    def video(self, serial: str) -> Path | None:
        """The left view of a camera, when it can be read."""
        from ..media.video import probe

        path = next((camera.mp4 for camera in self.episode.recorded if camera.serial == serial), None)
        try:
            return path if path and probe(path).frames else None
        except EpisodedError:
            return None  # said in quality.json

    def depth(self, serial: str) -> Path | None:
        """Its depth video."""
        path = self.folder / "recordings" / serial / "depth.mkv"
        return path if path.is_file() else None


def record(episode: DroidEpisode, path: Path) -> None:
    """Write the recording. Raises InputError (`not_finished`) and EpisodedError (`needs_rerun`)."""
    done = Finished(episode)
    with Recording(path, episode.id) as recording:
        _Scene(done, recording).log()


class _Scene:
    """One episode on its way into a recording."""

    def __init__(self, done: Finished, recording: Recording) -> None:
        self.done, self.recording, self.rerun = done, recording, recording.rerun
        self.videos: dict[str, Video] = {}
        self.depths: dict[str, Iterator[Any]] = {}

    def log(self) -> None:
        self._stage()
        for serial in self.done.serials:
            self._camera(serial)
        for row, seconds in enumerate(self.done.seconds):
            self.recording.at(row, float(seconds))
            self._hand(row)
            for serial in self.done.serials:
                self._seen(serial, row)

    def _stage(self) -> None:
        recording, tracks = self.recording, self.done.tracks
        recording.always("base", self.rerun.ViewCoordinates.RIGHT_HAND_Z_UP)
        recording.axes("base/axes", _AXIS_M)
        recording.axes("base/gripper/axes", _HAND_AXIS_M)
        path = tracks["contact_centroids"][tracks["frame_valid"]]
        recording.always("base/path", self.rerun.LineStrips3D([path], colors=[(160, 160, 160)]))

    def _hand(self, row: int) -> None:
        recording, tracks = self.recording, self.done.tracks
        if not tracks["frame_valid"][row]:
            return
        n = int(tracks["num_points_per_finger"])
        recording.pose("base/gripper", tracks["gripper_poses"][row])
        for name, points, colour in (
            ("left", tracks["tracks_3d"][row, :n], LEFT_COLOUR),
            ("right", tracks["tracks_3d"][row, n:], RIGHT_COLOUR),
        ):
            recording.log(f"base/pads/{name}", self.rerun.Points3D(points, colors=[colour], radii=_RADIUS_M))
        recording.scalars("gripper_position", [float(tracks["gripper_positions"][row])])
        recording.scalars("travelled_mm", [float(tracks["cumulative_distance_mm"][row])])
        recording.scalars("cartesian_position", tracks["cartesian_positions"][row])

    def _camera(self, serial: str) -> None:
        entity, tracks = f"base/{serial}", self.done.tracks
        poses = self.done.poses(serial)
        if poses.ndim == 2:
            self.recording.pose(entity, poses, always=True)
        pinhole = self.rerun.Pinhole(
            image_from_camera=tracks[f"intrinsics_{serial}"],
            resolution=tracks[f"image_size_{serial}"],
            camera_xyz=self.rerun.ViewCoordinates.RDF,
            image_plane_distance=_FRUSTUM_M,
        )
        self.recording.always(f"{entity}/image", pinhole)
        if video := self.done.video(serial):
            self.videos[serial] = self.recording.video(f"{entity}/image/video", video)
        if depth := self.done.depth(serial):
            self.depths[serial] = _millimetres(depth)

    def _seen(self, serial: str, row: int) -> None:
        entity, tracks = f"base/{serial}", self.done.tracks
        poses, n = self.done.poses(serial), int(tracks["num_points_per_finger"])
        if poses.ndim == 3 and tracks["frame_valid"][row]:
            self.recording.pose(entity, poses[row])
        pixels = tracks[f"tracks_2d_{serial}"][row]
        colours = np.repeat(np.array([LEFT_COLOUR, RIGHT_COLOUR], np.uint8), n, axis=0)
        seen = np.isfinite(pixels).all(axis=1)
        dots = self.rerun.Points2D(pixels[seen], colors=colours[seen], radii=_RADIUS_PX)
        self.recording.log(f"{entity}/image/pads", dots)
        if serial in self.videos:
            self.videos[serial].show(row)
        depth = next(self.depths[serial], None) if serial in self.depths else None
        if depth is not None:
            self.recording.log(f"{entity}/image/depth", self.rerun.DepthImage(depth, meter=1000.0))


def _millimetres(path: Path) -> Iterator[Any]:
    """The maps of a depth video in mm; nothing where it holds only relative disparity."""
    from ..depth.reader import read_depth

    try:
        yield from read_depth(path)
    except InputError as error:
        if error.code != "depth_relative":
            raise


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError as error:
        raise InputError(
            "not_finished", f"{path} is not there: there is nothing to look at yet", "process the episode first"
        ) from error
