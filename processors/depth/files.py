"""The files of a camera: what its depth is made from, and where it belongs. Light to import, as the stage is."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..errors import EpisodedError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from ..episode import Camera, Episode
    from .params import DepthParams


def inputs(episode: Episode, camera: Camera, params: DepthParams) -> tuple[Path, ...]:
    """The files that a camera's depth is made from: PNG frames, or one video."""
    frames = camera.frames.paths if camera.frames is not None else ()
    if frames and params.read == "frames":
        return frames
    found = [path for root in (episode.output, episode.root) if (path := root / camera.video).is_file()]
    if found:
        return (found[0],)
    if not frames:
        raise camera.absent or InputError(
            "depth_no_input",
            f"camera {camera.key} of episode {episode.id} has neither a video at {camera.video} nor PNG frames",
            "upload the frames or the video of this camera, then retry",
        )
    return frames


def has_nothing(episode: Episode, camera: Camera, params: DepthParams) -> bool:
    """Whether there is nothing that depth could be made from, and the pipeline allows a camera to go without."""
    try:
        inputs(episode, camera, params)
    except EpisodedError:
        if "none" not in params.ways:
            raise
        return True
    return False


def calibration_of(episode: Episode, camera: Camera) -> Path | None:
    """Where the calibration of both its eyes lies, as far as its layout and an earlier stage have brought one."""
    path = episode.output / camera.stereo if camera.stereo is not None else None
    return path if path is not None and path.is_file() else None


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def target(episode: Episode, camera: Camera) -> PurePosixPath:
    """Where a camera's depth video belongs, relative to the output: where its layout says, else below `depth/`."""
    return camera.depth if camera.depth is not None else below_depth(camera.video, camera.key, episode.id)


def below_depth(video: PurePosixPath, key: str, episode_id: str) -> PurePosixPath:
    """The depth video of the camera `key` whose own video is `video`, in a dataset.

    `depth/chunk-000/observation.images.top/episode_000000.mkv` in a LeRobot dataset, beside its `videos/` and out of
    the way of its recorder and its loader.
    """
    chunk = [part for part in video.parts if part.startswith("chunk-")][:1]
    return PurePosixPath("depth", *chunk, key, f"{episode_id}.mkv")
