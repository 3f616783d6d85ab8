"""The ladder: for each camera the best intrinsics and pose that there are, with their source.

    intrinsics   release (intrinsics.json), h5, sidecar, stereolabs (SN*.conf), zed_sdk, nominal
    pose         superset, cam2base, cam2cam from the other external camera, recorded
    wrist        recorded offset, recorded pose of the first step, wrist_table

A rung that gives nonsense is passed over, and said. Nothing is ever taken from another episode.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..geometry import inverse, poses_of
from . import released, stereolabs
from .index import CalibrationIndex
from .values import Extrinsics, Intrinsics, intrinsics_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ..formats.droid_files import DroidCamera
    from ..formats.droid_state import RobotState
    from ..tracks.params import TracksParams

#: What the lookups raise for entries that are not what they should be.
_WRONG: Final = (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError)


@dataclass
class Calibration:
    """What was found, by serial. `passed_over`: rungs that gave nonsense, in words."""

    intrinsics: dict[str, Intrinsics] = field(default_factory=dict)
    extrinsics: dict[str, Extrinsics] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)


def climb(
    uuid: str, folder: Path, cameras: tuple[DroidCamera, ...], state: RobotState, params: TracksParams
) -> Calibration:
    """Go up the ladder for each of `cameras`. `folder`: the episode's, where sidecars lie.

    Raises EpisodedError (`no_calibration_index`, `calibration_index_old`).
    """
    index = CalibrationIndex(params.calibration) if params.calibration else None
    try:
        return _Ladder(uuid, folder, cameras, state, params, index).climb()
    finally:
        if index:
            index.close()


def baseline_m(state: RobotState, serial: str) -> float | None:
    """The distance between the two lenses by the recorded hand-eye poses: right to some percent only."""
    import numpy as np

    if serial not in state.poses or serial not in state.right_poses:
        return None
    distance = float(np.linalg.norm(state.poses[serial][0, :3] - state.right_poses[serial][0, :3]))
    return distance if np.isfinite(distance) else None


@dataclass
class _Ladder:
    uuid: str
    folder: Path
    cameras: tuple[DroidCamera, ...]
    state: RobotState
    params: TracksParams
    index: CalibrationIndex | None
    found: Calibration = field(default_factory=Calibration)

    def climb(self) -> Calibration:
        for camera in self.cameras:
            if intrinsics := self._first(self._intrinsics(camera), f"{camera.serial} intrinsics"):
                self.found.intrinsics[camera.serial] = self._with_baseline(camera, intrinsics)
            self._take_pose(camera, self._offsets(camera) if camera.role == "wrist" else self._released(camera))
        known = dict(self.found.extrinsics)
        for camera in self.cameras:
            if camera.role != "wrist" and camera.serial not in known:
                self._take_pose(camera, self._otherwise(camera, known))
        return self.found

    def _take_pose(self, camera: DroidCamera, rungs: Iterator[tuple[str, Callable[[], Any]]]) -> None:
        if pose := self._first(rungs, f"{camera.serial} pose"):
            self.found.extrinsics[camera.serial] = pose

    def _with_baseline(self, camera: DroidCamera, known: Intrinsics) -> Intrinsics:
        """With the distance of the lenses: of the factory calibration, else of the camera's type."""
        if known.baseline_m is not None:
            return known
        if self.params.stereolabs and (conf := self.params.stereolabs / f"SN{camera.serial}.conf").is_file():
            with suppress(*_WRONG):  # said already, by the rung that it is
                factory = stereolabs.from_conf(conf)
                return replace(known, baseline_m=factory.baseline_m, baseline_source=factory.baseline_source)
        model = stereolabs.model_of(baseline_m(self.state, camera.serial), wrist=camera.role == "wrist")
        return replace(known, baseline_m=stereolabs.nominal_baseline_m(model), baseline_source=f"nominal, {model}")

    def _first(self, rungs: Iterator[tuple[str, Callable[[], Any]]], what: str) -> Any:
        """The first rung that gives something sensible."""
        for source, look in rungs:
            try:
                value = look()
                wrong = value.nonsense() if value is not None else ""
            except _WRONG as error:
                value, wrong = None, f"{type(error).__name__}: {error}"
            if wrong:
                self.found.passed_over.append(f"{what} by {source}: {wrong}")
            elif value is not None:
                return value
        return None

    def _intrinsics(self, camera: DroidCamera) -> Iterator[tuple[str, Callable[[], Intrinsics | None]]]:
        serial, index, params = camera.serial, self.index, self.params
        wrist = camera.role == "wrist"
        if index:
            yield "release", lambda: released.intrinsics(index, self.uuid, serial)
        if serial in self.state.intrinsics:
            yield "h5", lambda: _from_matrix(self.state.intrinsics[serial])
        sidecar = self.folder / "recordings" / serial / "intrinsics.json"
        if sidecar.is_file():
            yield "sidecar", lambda: intrinsics_from_json(json.loads(sidecar.read_bytes()), "sidecar")
        if params.stereolabs and (conf := params.stereolabs / f"SN{serial}.conf").is_file():
            yield "stereolabs", lambda: stereolabs.from_conf(conf)
        if params.zed_sdk and (svo := camera.svo):
            yield "zed_sdk", lambda: stereolabs.from_sdk(svo)
        model = stereolabs.model_of(baseline_m(self.state, serial), wrist=wrist)
        yield "nominal", lambda: stereolabs.nominal(model)

    def _released(self, camera: DroidCamera) -> Iterator[tuple[str, Callable[[], Extrinsics | None]]]:
        """An external camera in the base, by the released calibrations."""
        if self.index:
            for pose in released.poses(self.index, self.uuid, camera.serial):
                yield pose.source, partial(replace, pose)

    def _otherwise(
        self, camera: DroidCamera, known: Mapping[str, Extrinsics]
    ) -> Iterator[tuple[str, Callable[[], Extrinsics | None]]]:
        """The same without: by the released pose of the other external camera, else as it was recorded."""
        index = self.index
        for other in self.cameras:
            if index and other is not camera and other.role != "wrist" and (pose := known.get(other.serial)):
                yield "cam2cam", partial(released.pose_from_other, index, self.uuid, pose, ext1=camera.role == "ext1")
        yield "recorded", lambda: self._recorded(camera)

    def _recorded(self, camera: DroidCamera) -> Extrinsics | None:
        """The pose that the collector had calibrated: of the metadata, else of the first row."""
        if camera.pose is not None:
            return Extrinsics(poses_of(camera.pose), "recorded", {"file": "metadata"})
        if camera.serial in self.state.poses:
            return Extrinsics(poses_of(self.state.poses[camera.serial][0]), "recorded", {"file": "h5"})
        return None

    def _offsets(self, camera: DroidCamera) -> Iterator[tuple[str, Callable[[], Extrinsics | None]]]:
        """The wrist camera in the flange."""
        state, index = self.state, self.index
        if camera.serial in state.offsets:
            yield "recorded", lambda: Extrinsics(poses_of(state.offsets[camera.serial][0]), "recorded", {"file": "h5"})
        if (pose := camera.pose) is not None:
            flange = poses_of(state.cartesian[0])
            yield "recorded", lambda: Extrinsics(inverse(flange) @ poses_of(pose), "recorded", {"file": "metadata"})
        if index:
            yield "wrist_table", lambda: released.wrist_offset(index, self.uuid)


def _from_matrix(matrix: Any) -> Intrinsics:
    fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    size = (672, 376) if cx < 400 else (1280, 720)
    return Intrinsics(fx, fy, cx, cy, *size, "h5")
