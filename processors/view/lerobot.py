"""An episode of a LeRobot dataset in Rerun: its cameras, states and actions on one timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..formats.lerobot_table import opened
from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..episode import Camera, Episode
    from .recording import Video

#: Columns that count or point, and say nothing of the robot.
_COUNTERS = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})


def record(episode: Episode, path: Path) -> None:
    """Write the recording. Raises InputError for a table that cannot be read, EpisodedError (`needs_rerun`)."""
    columns = curves_of(episode)
    with Recording(path, f"{episode.root.name}-{episode.id}") as recording:
        videos = {
            camera.key: recording.video(f"cameras/{_name(camera)}", found)
            for camera in episode.cameras
            if not frames_of(camera) and (found := video_of(episode, camera))
        }
        for row in range(episode.length):
            recording.at(row, float(row / episode.fps))
            for name, values in columns.items():
                recording.scalars(name.replace(".", "/"), values[row])
            for camera in episode.cameras:
                _show(recording, camera, videos.get(camera.key), row)


def curves_of(episode: Episode) -> dict[str, NDArray[Any]]:
    """Column -> (rows, numbers) float64, of every column of numbers that says something of the robot."""
    import numpy as np

    if episode.table is None:
        return {}
    first = episode.first_row or 0
    found = {}
    with opened(episode.table) as parquet:
        for name in _numeric(parquet.schema_arrow):
            rows = parquet.read(columns=[name]).column(0).slice(first, episode.length).to_pylist()
            values = np.array(rows, np.float64)
            found[name] = values.reshape(len(values), -1)
    return found


def video_of(episode: Episode, camera: Camera) -> Path | None:
    """The finished video of a camera."""
    return next((path for root in (episode.output, episode.root) if (path := root / camera.video).is_file()), None)


def frames_of(camera: Camera) -> tuple[Path, ...]:
    """Its PNG frames, as long as they are there."""
    return camera.frames.paths if camera.frames is not None else ()


def _show(recording: Recording, camera: Camera, video: Video | None, row: int) -> None:
    frames = frames_of(camera)
    if video is not None:
        video.show((camera.start or 0) + row)
    elif row < len(frames):
        recording.log(f"cameras/{_name(camera)}", recording.rerun.EncodedImage(path=str(frames[row])))


def _name(camera: Camera) -> str:
    return camera.key.rpartition(".")[2]


def _numeric(schema: Any) -> Iterator[str]:
    import pyarrow as pa

    for field in schema:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if (pa.types.is_floating(kind) or pa.types.is_integer(kind)) and field.name not in _COUNTERS:
            yield field.name
