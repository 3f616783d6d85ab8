"""The depth stage: each camera of an episode becomes a depth video that a scientist can trust.

Light to import: numpy, libav and torch are loaded when the first camera is worked on.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..base import Needs, Unit
from ..errors import from_os_error
from .files import calibration_of, has_nothing, inputs
from .params import DepthParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from ..base import Artifact, StageContext
    from ..episode import Camera, Episode


class DepthProcessor:
    """One unit for each camera: its depth video, the description of it, and what else the pipeline asks for.

    Inside a unit, segments of a few hundred frames are kept as they are finished; a killed attempt goes on after the
    last one, and the result is the same to the byte.
    """

    name = "depth"
    version = 1
    needs = Needs(gpu=True, memory=3 << 30)
    Params: type[BaseModel] = DepthParams

    def applies(self, episode: Episode) -> bool:
        """Every episode with a camera."""
        return bool(episode.cameras)

    def units(self, episode: Episode, params: BaseModel) -> Sequence[Unit]:
        """One for each camera that is asked for; its input is its video or, as long as there is none, its frames."""
        assert isinstance(params, DepthParams)
        wanted = [camera for camera in episode.cameras if _is_wanted(camera, params)]
        return [Unit(_unit_name(camera), _all_inputs(episode, camera, params)) for camera in wanted]

    def run(self, unit: Unit, ctx: StageContext) -> Sequence[Artifact]:
        """Make the depth of one camera.

        Raises `InputError` for videos and frames that are wrong (the codes of `media.video`, `media.png` and
        `depth.frames`; `depth_no_input`), `EpisodedError` for models that are missing or do not fit (`depth.ladder`,
        `depth.weights`) and for a source that does not give one map for each frame (`depth_frames`), `RetryableError`
        for the machine.
        """
        from .camera import go_without, make_depth

        assert isinstance(ctx.params, DepthParams)
        camera = next(camera for camera in ctx.episode.cameras if _unit_name(camera) == unit.name)
        try:
            if has_nothing(ctx.episode, camera, ctx.params):
                return [go_without(camera, unit.name, ctx)]
            return make_depth(camera, unit.name, ctx)
        except OSError as error:
            raise from_os_error(error) from error


def _all_inputs(episode: Episode, camera: Camera, params: DepthParams) -> tuple[Path, ...]:
    """Those of the camera, of the one to its right, and its calibration; none where it may go without depth."""
    if has_nothing(episode, camera, params):
        return ()
    calibration = calibration_of(episode, camera)
    right = [other for other in episode.cameras if other.key == params.right.get(camera.key)]
    recorded = tuple(path for each in (camera, *right) for path in inputs(episode, each, params))
    return (*recorded, calibration) if calibration and "stereo" in params.ways else recorded


def _unit_name(camera: Camera) -> str:
    """The camera's key as a file name: unchanged for every key that LeRobot allows."""
    return quote(camera.key, safe="")


def _is_wanted(camera: Camera, params: DepthParams) -> bool:
    """Whether it is asked for; the right eye of a pair has no depth of its own, and a depth camera needs none."""
    if camera.depth_info is not None or ("stereo" in params.ways and camera.key in params.right.values()):
        return False
    return any(fnmatchcase(camera.key, pattern) for pattern in params.cameras)
