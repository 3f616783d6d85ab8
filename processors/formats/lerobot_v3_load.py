"""Read one episode of a LeRobot v3.0 recording, fully checked by names and counts: the rule is that of v2.x.

Row k of the episode is frame k of each camera.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..episode import Camera, Episode
from ..errors import BusyError, InputError
from .lerobot_frames import check_inside
from .lerobot_info import INFO, episode_id
from .lerobot_load import load_camera
from .lerobot_v3_tables import newest, read_span
from .lerobot_v3_videos import place_of
from .writers import writer_of

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from .lerobot_info import CameraFeature
    from .lerobot_v3_recording import Entry, Recording


def load_recorded(recording: Recording, output: Path, index: int) -> Episode:
    """The episode at `index`, its artifacts going below `output`.

    Raises InputError: `episode_empty`, `rows_mismatch`, `frame_index_broken`, `task_unknown`, what `load_camera` and
    `place_of` raise; BusyError (`recorder_at_work`) while the recorder holds the file with its rows open.
    """
    entry, root = recording.entries[index], recording.root
    check_inside(root / INFO.parent, root)
    check_inside(root / entry.table, root)
    _check_rows(recording, entry)
    cameras, notes = [], list(recording.notes)
    for feature in recording.cameras:
        if feature.dtype == "image":
            notes.append(f"{feature.key}: its pictures lie inside the parquet file and are left as they are")
            continue
        camera, found = _camera(recording, output, feature, index)
        cameras.append(camera)
        notes += found
    return Episode(
        root=root,
        output=output,
        id=episode_id(index),
        index=index,
        length=entry.length,
        fps=recording.fps,
        cameras=tuple(cameras),
        table=root / entry.table,
        notes=tuple(notes),
        first_row=entry.first_row,
    )


def refuse_while_written(path: Path) -> None:
    """Raise BusyError (`recorder_at_work`) when a process on this machine has the file open for writing."""
    if (pid := writer_of(path)) is not None:
        raise BusyError(
            "recorder_at_work",
            f"process {pid} has {path} open: the recording is still going on",
            "end the recording (LeRobot's `finalize()`); it is tried again by itself",
        )


def _check_rows(recording: Recording, entry: Entry) -> None:
    if entry.length == 0:
        raise InputError("episode_empty", f"episode {entry.index} has no frames by meta/episodes", "record it again")
    if None in entry.tasks:
        raise InputError(
            "task_unknown",
            f"meta/tasks.parquet lacks the text of a task of episode {entry.index}",
            "restore this file from where it was recorded, then retry",
        )
    path = newest(recording.root, entry.table, recording.head.info["features"])
    if entry.table in recording.unclosed:  # its rows were checked when they were found
        refuse_while_written(path)
        return
    rows = read_span(recording.root, entry, recording.head.info["features"])
    columns = {
        name: rows.column(name).to_pylist() for name in ("episode_index", "frame_index") if name in rows.schema.names
    }
    if len(rows) != entry.length or set(columns.get("episode_index", [entry.index])) != {entry.index}:
        last = entry.first_row + entry.length - 1
        raise InputError(
            "rows_mismatch",
            f"{path}: rows {entry.first_row} to {last} are not those of episode {entry.index}",
            "upload the table and meta/episodes of the same recording, then retry",
        )
    if columns.get("frame_index", list(range(entry.length))) != list(range(entry.length)):
        raise InputError(
            "frame_index_broken",
            f"{path}: the rows of episode {entry.index} do not have frame_index 0, 1, 2 …",
            "the rows of an episode are its frames in order: mend the table, then retry",
        )


def _camera(recording: Recording, output: Path, feature: CameraFeature, index: int) -> tuple[Camera, list[str]]:
    """A camera: with its frames, with its video, or with its part of a video."""
    place, length = place_of(recording, feature.key, index), recording.entries[index].length
    if place.left is not None and not (output / place.file).is_file():
        note = f"{feature.key}: its video was taken from {place.left}, where its recorder had left it"
        left = Camera(feature.key, None, place.file, feature.shape, depth_info=feature.depth_info, left=place.left)
        return left, [note]
    camera, notes = load_camera(recording.root, output, _At(recording, place.file), feature, index, length)
    if place.start is None:
        return camera, notes
    if camera.frames is not None:
        notes = [f"{feature.key}: {len(camera.frames.paths)} frames lie beside a finished video; they are left alone"]
    if place.counted:
        notes.append(f"{feature.key}: frames {place.start} and following of {place.file}, found by counting the rows")
    return replace(camera, frames=None, start=place.start), notes


class _At:
    """The recording, as `load_camera` asks it, with the place of the camera in hand."""

    def __init__(self, recording: Recording, video: PurePosixPath) -> None:
        self.cameras, self._recording, self._video = recording.cameras, recording, video

    def video(self, key: str, index: int) -> PurePosixPath:  # noqa: ARG002 - as in `DatasetInfo`
        return self._video

    def frame_folder(self, key: str, index: int) -> PurePosixPath | None:
        return self._recording.frame_folder(key, index)
