"""Read one episode of a LeRobot v2.x dataset, fully checked by names and counts.

The rule behind every branch: row k of the table is frame k of each camera. Where that cannot be shown from the names,
the episode is refused with the file or camera named; a frame is never taken for its neighbour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..episode import Camera, Episode, FrameSource
from ..errors import InputError
from ..media.lfs import refuse_pointer
from .lerobot_frames import FrameFolder, check_inside, folder_names, frame_folder, sort_entries
from .lerobot_info import EPISODES_STATS, INFO, STATS, TASKS, episode_id
from .lerobot_table import Table, read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

    from .lerobot_info import CameraFeature, DatasetInfo, Places

_NAMED: Final = 3  # missing frames named in a message


def load_episode(root: Path, output: Path, info: DatasetInfo, index: int, length: int) -> Episode:
    """The episode at `index` with `length` rows, its artifacts going below `output`.

    Raises InputError: `episode_empty`, `table_missing`, `table_unreadable`, `rows_mismatch`, `frame_index_broken`,
    `frames_missing`, `frames_ambiguous`, `frames_not_png`, `video_misplaced`, `lfs_pointer`, `symlink_outside`.
    """
    if length == 0:
        raise InputError("episode_empty", f"episode {index} has no frames by meta/episodes.jsonl", "record it again")
    check_inside(root / INFO.parent, root)
    for name in (TASKS, EPISODES_STATS, STATS):
        _refuse_pointer_at(root / name)
    keys = [feature.key for feature in info.cameras]
    table = _table(root, info.table(index), length, keys)
    cameras, notes = [], []
    for feature in info.cameras:
        if feature.dtype == "image" and feature.key in table.embedded:
            notes.append(f"{feature.key}: its pictures lie inside the parquet file and are left as they are")
            continue
        camera, note = load_camera(root, output, info, feature, index, length)
        cameras.append(camera)
        notes += note
    return Episode(
        root=root,
        output=output,
        id=episode_id(index),
        index=index,
        length=length,
        fps=info.fps,
        cameras=tuple(cameras),
        table=root / info.table(index),
        notes=tuple(notes),
    )


def _table(root: Path, path: PurePosixPath, length: int, keys: Sequence[str]) -> Table:
    check_inside(root / path, root)
    table = read_table(root / path, keys)
    if table.rows != length:
        raise InputError(
            "rows_mismatch",
            f"{root / path} has {table.rows} rows, meta/episodes.jsonl says {length} frames",
            "upload the table and meta/episodes.jsonl of the same take, then retry",
        )
    return table


def load_camera(
    root: Path, output: Path, info: Places, feature: CameraFeature, index: int, length: int
) -> tuple[Camera, list[str]]:
    """One camera with its frames, or with the video that it has already, and what is worth knowing about it.

    Raises InputError: `frames_missing`, `frames_ambiguous`, `frames_not_png`, `frames_not_tiff`, `video_misplaced`,
    `lfs_pointer`, `symlink_outside`.
    """
    key, video = feature.key, info.video(feature.key, index)
    for base in dict.fromkeys((root, output)):
        check_inside(base / video, base)
    names = folder_names(key, [camera.key for camera in info.cameras])
    found = frame_folder(root, names, index, info.frame_folder(key, index))
    folder = None
    if found is not None:
        _check_links(*found, root)
        folder = sort_entries(*found, depth=feature.depth_info is not None)
        _check_doubles(folder, key)
    missing = folder.absent(length) if folder else list(range(length))
    if folder is not None and not missing:
        source, notes = _source(folder, key, length)
        return Camera(key, source, video, feature.shape, depth_info=feature.depth_info), notes
    finished = _finished(root, output, video)
    if not finished:
        raise _frames_missing(root, folder, key, index, missing, length, video)
    present = length - len(missing)
    notes = [f"{key}: {present} of {length} frames lie beside a finished video; they are left alone"] if present else []
    return Camera(key, None, video, feature.shape, depth_info=feature.depth_info), notes


def _source(folder: FrameFolder, key: str, length: int) -> tuple[FrameSource, list[str]]:
    """The episode's frames, and apart from them those beyond its length, of a take that was discarded."""
    paths = tuple(folder.path / folder.frames[number] for number in range(length))
    stale = tuple(folder.path / folder.frames[number] for number in sorted(folder.frames) if number >= length)
    notes = []
    if stale:
        notes.append(
            f"{key}: {len(stale)} stale frames from {stale[0].name} on, beyond the {length} of the episode; left alone"
        )
    return FrameSource(folder.path, paths, stale), notes


def _check_links(path: Path, entries: Sequence[os.DirEntry[str]], root: Path) -> None:
    check_inside(path, root)
    for entry in entries:
        if entry.is_symlink():
            check_inside(path / entry.name, root)


def _check_doubles(folder: FrameFolder, key: str) -> None:
    if folder.doubles:
        one, other = folder.doubles[0]
        raise InputError(
            "frames_ambiguous",
            f"{one} and {other} of {key} in {folder.path} have the same number",
            "keep the one that belongs to the episode, move the other out of the dataset, then retry",
        )


def _finished(root: Path, output: Path, video: PurePosixPath) -> bool:
    """Whether the camera's video is there. Raises InputError (`lfs_pointer`) when a pointer lies in its place."""
    for base in dict.fromkeys((output, root)):
        if (base / video).is_file():
            _refuse_pointer_at(base / video)
            return True
    return False


def _refuse_pointer_at(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            refuse_pointer(file.read(64), path)


def _frames_missing(
    root: Path,
    folder: FrameFolder | None,
    key: str,
    index: int,
    missing: Sequence[int],
    length: int,
    video: PurePosixPath,
) -> InputError:
    """Which frame is not there, and the likely reason as far as it can be seen."""
    what = f"{key} of {episode_id(index)}"
    if folder is None or not folder.frames:
        if folder is not None and folder.pictures and folder.pictures[0].lower().endswith(".png"):
            return InputError(
                "frames_not_tiff",
                f"{what}: {folder.pictures[0]} in {folder.path} is a PNG, the frames of a depth camera are TIFF files",
                "upload the frames as they were recorded, then retry",
            )
        if folder is not None and folder.pictures:
            return InputError(
                "frames_not_png",
                f"{what}: {folder.pictures[0]} in {folder.path} is no PNG",
                "only PNG frames are encoded: convert them without loss, then retry",
            )
        elsewhere = root / "video" / video.relative_to(video.parts[0]) if len(video.parts) > 1 else root
        if elsewhere.is_file():
            return InputError(
                "video_misplaced",
                f"{what}: its video lies at {elsewhere}, by meta/info.json it belongs at {video}",
                f"rename the folder to {video.parts[0]}/ or set `video_path` in meta/info.json, then retry",
            )
        where = f"images/{key}/{episode_id(index)}"
        return InputError(
            "frames_missing",
            f"{what}: no frames in {where} and no video at {video}",
            "upload the frames or the video of this camera, then retry",
        )
    named = ", ".join(folder.name_of(number) for number in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return InputError(
        "frames_missing",
        f"{what}: {named}{more} missing in {folder.path}: {length - len(missing)} of {length} frames are there",
        "upload the missing frames, or record the episode again; then retry. Nothing was encoded or removed",
    )
