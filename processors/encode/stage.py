"""The encode stage: the PNG frames of each camera become its video.

Light to import: libav is loaded when the first camera is encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ..base import Needs, Unit
from ..errors import InputError, from_os_error
from ..formats.droid import DroidEpisode
from ..formats.video import VideoEpisode
from .params import EncodeParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from ..base import Artifact, StageContext
    from ..episode import Camera, Episode


class EncodeProcessor:
    """One unit per camera: a video with exactly the episode's frames, at the episode's rate.

    A camera whose PNGs are gone keeps the video it has, once that video proves to hold the episode. The facts of the
    artifacts are listed in `camera.py`.
    """

    name = "encode"
    version = 1
    needs = Needs()
    Params: type[BaseModel] = EncodeParams

    def applies(self, episode: Episode) -> bool:
        """Every episode with a camera, but for those that were recorded as videos, which stay what they are."""
        return bool(episode.cameras) and not isinstance(episode, (VideoEpisode, DroidEpisode))

    def units(self, episode: Episode, params: BaseModel) -> Sequence[Unit]:  # noqa: ARG002 - part of the contract
        """One unit for each camera; its inputs are its PNGs or, when they are gone, its video."""
        return [Unit(_unit_name(camera), _inputs(episode, camera)) for camera in episode.cameras]

    def run(self, unit: Unit, ctx: StageContext) -> Sequence[Artifact]:
        """Encode one camera, or adopt its finished video.

        Raises `InputError` for frames and videos that are wrong (the codes of `media.png`, `media.video` and
        `verify`; `no_frames`, `frame_count`, `odd_dimensions`), `EpisodedError` (`low_psnr`, `wrong_colour`,
        `encoder_failed`) for settings that do not fit, and `RetryableError` for the machine, which includes
        `verify_failed`: a video just written that cannot be read back whole.
        """
        from . import camera as colour
        from . import depth_camera

        camera = next(camera for camera in ctx.episode.cameras if _unit_name(camera) == unit.name)
        try:
            kind = colour if camera.depth_info is None else depth_camera
            if _has_frames(camera):
                return [kind.encode(camera, ctx, ctx.scratch / f"{unit.name}.video")]
            return [kind.adopt(camera, ctx, _video_of(camera, ctx.episode), ctx.scratch / f"{unit.name}.video")]
        except OSError as error:
            raise from_os_error(error) from error


def _unit_name(camera: Camera) -> str:
    """The camera's key as a file name: unchanged for every key that LeRobot allows."""
    return quote(camera.key, safe="")


def _has_frames(camera: Camera) -> bool:
    return camera.frames is not None and bool(camera.frames.paths)


def _inputs(episode: Episode, camera: Camera) -> tuple[Path, ...]:
    if camera.frames is not None and camera.frames.paths:
        return camera.frames.paths
    return tuple(_finished(episode, camera)[:1])


def _finished(episode: Episode, camera: Camera) -> list[Path]:
    """The camera's video where it belongs, in the dataset as it was received, or left elsewhere: those that exist."""
    places = [root / camera.video for root in (episode.output, episode.root)]
    return [path for path in (*places, camera.left) if path is not None and path.is_file()]


def _video_of(camera: Camera, episode: Episode) -> Path:
    found = _finished(episode, camera)
    if not found:
        raise InputError(
            "no_frames",
            f"camera {camera.key} of episode {episode.id} has neither PNG frames nor a video at {camera.video}",
            "upload the frames or the video of this camera, then retry",
        )
    return found[0]
