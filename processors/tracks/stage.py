"""The tracks stage: `tracks.npz`, `extrinsics.npz`, `quality.json` and each camera's `intrinsics.json` of an episode.

Needs no video and no GPU. Light to import: numpy and HDF5 are loaded when the first episode is worked on.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..base import Artifact, Needs, Unit
from ..calibration.index import INDEX
from ..errors import InputError, RetryableError, from_os_error
from ..formats.droid import DroidEpisode
from .params import TracksParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from ..base import StageContext
    from ..episode import Episode
    from .cameras import Cameras


class TracksProcessor:
    """One unit for the episode, which depends on all its files and on the calibrations."""

    name = "tracks"
    version = 1
    needs = Needs(memory=400 << 20)
    Params: type[BaseModel] = TracksParams

    def applies(self, episode: Episode) -> bool:
        """Every raw DROID episode."""
        return isinstance(episode, DroidEpisode)

    def units(self, episode: Episode, params: BaseModel) -> Sequence[Unit]:
        """One: the 3D tracks are the same for all cameras, and projecting them takes milliseconds."""
        assert isinstance(episode, DroidEpisode)
        assert isinstance(params, TracksParams)
        return [Unit("episode", (*episode.files, *_calibrations(episode, params)))]

    def run(self, unit: Unit, ctx: StageContext) -> Sequence[Artifact]:  # noqa: ARG002 - there is only one
        """Compute everything of one episode.

        Raises `InputError` (the codes of `droid_state.read_state`; `state_not_finite`, `path_impossible`,
        `calibration_missing`), `EpisodedError` (`no_calibration_index`, `calibration_index_old`) and `RetryableError`.
        """
        ctx.check_cancelled()
        try:
            return _Computing(ctx).artifacts()
        except OSError as error:
            raise from_os_error(error) from error


class _Computing:
    """One episode on its way to its files."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.episode, DroidEpisode)
        assert isinstance(ctx.params, TracksParams)
        self.ctx, self.episode, self.params = ctx, ctx.episode, ctx.params

    def artifacts(self) -> list[Artifact]:
        from ..formats.droid_state import read_state
        from .arrays import extrinsics_of, tracks_of
        from .cameras import look_at_cameras
        from .quality import report
        from .trajectory import trajectory_of

        state = read_state(self.episode.state)
        motion = trajectory_of(state, str(self.episode.state))
        cameras = look_at_cameras(self.episode, state, self.params)
        if self.params.require_calibration:
            _require(cameras)
        self.ctx.progress(1, 3)
        self.ctx.check_cancelled()
        tracks = tracks_of(state, motion, cameras, self.params)
        quality = report(self.episode, state, motion, cameras, tracks, self.params, TracksProcessor.version)
        self.ctx.progress(2, 3)
        path_mm = round(quality["checks"]["path_length_mm"], 1)
        facts = {"rows": state.length, "fps": round(motion.fps, 3), "path_mm": path_mm, "flags": len(quality["flags"])}
        made = [self._npz("tracks.npz", tracks, facts)]
        self.ctx.check_cancelled()
        made += [
            self._npz("extrinsics.npz", extrinsics_of(motion, cameras), {}),
            self._json("quality.json", quality),
            *(
                self._json(f"recordings/{camera.serial}/intrinsics.json", camera.intrinsics.to_json())
                for camera in cameras.all
                if camera.intrinsics
            ),
        ]
        self.ctx.progress(3, 3)
        return made

    def _npz(self, name: str, arrays: dict[str, Any], facts: dict[str, Any]) -> Artifact:
        import zipfile

        from .npz import save

        path = self._scratch(name)
        save(path, arrays)
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise RetryableError(
                    "verify_failed", f"{broken} in {path} reads back as something else", "check the disk"
                )
        return Artifact(path, self._target(name), facts)

    def _json(self, name: str, value: dict[str, Any]) -> Artifact:
        from .quality import to_json

        path = self._scratch(name)
        path.write_bytes(to_json(value))
        return Artifact(path, self._target(name))

    def _scratch(self, name: str) -> Path:
        return self.ctx.scratch / name.replace("/", "-")

    def _target(self, name: str) -> PurePosixPath:
        return PurePosixPath(self.episode.id, *name.split("/"))


def _calibrations(episode: DroidEpisode, params: TracksParams) -> list[Path]:
    """The calibration files that may decide the result: with another index, or a new sidecar, it is another one."""
    serials = [camera.serial for camera in episode.recorded]
    wanted = [episode.folder / "recordings" / serial / "intrinsics.json" for serial in serials]
    if params.stereolabs:
        wanted += [params.stereolabs / f"SN{serial}.conf" for serial in serials]
    if params.calibration:
        wanted.append(params.calibration / INDEX)
    return [path for path in wanted if path.is_file()]


def _require(cameras: Cameras) -> None:
    """Raise InputError (`calibration_missing`) unless every camera has a pose and real intrinsics."""
    lacking = [
        f"{what} of {camera.serial}"
        for camera in cameras.all
        for what, there in (
            ("pose", camera.extrinsics is not None),
            ("intrinsics", camera.intrinsics is not None and camera.intrinsics.source != "nominal"),
        )
        if not there
    ]
    if lacking or not cameras.all:
        raise InputError(
            "calibration_missing",
            f"there is no calibration for: {', '.join(lacking) or 'any camera, of which none is known'}",
            "add it to the calibration folder and build its index again, or set require_calibration = false: what can "
            "be computed without it then is",
        )
