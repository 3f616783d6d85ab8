"""What has arrived of one episode: a fingerprint to watch, and what an episode that is whole would have.

Asked again and again while files come in, so: one pass over the folders, stats only. The ends of the PNGs are read
when all their names are there, which is when a wrong answer would begin to matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Upload
from .lerobot_frames import folder_names, frame_folder, sort_entries
from .lerobot_table import read_table
from .whole import is_pointer, mp4_ends, parquet_ends, png_ends, tiff_ends

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from .lerobot_info import CameraFeature, DatasetInfo, Layout


def look_at(root: Path, info: DatasetInfo, index: int, length: int) -> Upload:
    """Every input file of the episode at `index`, which has `length` frames by its line in `meta/episodes.jsonl`.

    The episode's line in `meta/episodes_stats.jsonl`, which LeRobot v2.1 writes last of all, is not waited for: some
    recorders never write it, it says nothing of the frames, and it is computed when it is not there. Raises OSError,
    and InputError (`frames_ambiguous`, or what `read_table` raises).
    """
    look = Look(root, info, index, length)
    look.table()
    for camera in info.cameras:
        look.camera(camera)
    return look.result()


class Look:
    """One look at the files of an episode; adds up what it sees."""

    def __init__(self, root: Path, info: Layout, index: int, length: int) -> None:
        self.root, self.info, self.index, self.length = root, info, index, length
        self.files = self.bytes = self.newest = 0
        self.missing: list[str] = []
        self.frames: list[tuple[Path, Callable[[Path], bool]]] = []

    def result(self) -> Upload:
        """What was seen; the ends of the frames are looked at when nothing else is missing."""
        if not self.missing:
            self.missing += [f"the end of {path.name} in {path.parent}" for path, ends in self.frames if not ends(path)]
        return Upload(self.files, self.bytes, self.newest, tuple(self.missing))

    def table(self) -> None:
        """The parquet file: it is written when the recording of the episode has ended."""
        name = self.info.table(self.index)
        path = self.root / name
        if not path.is_file():
            self.missing.append(str(name))
            return
        self._count(path.stat())
        if is_pointer(path):
            self.missing.append(f"{name} itself: a Git LFS pointer lies there, run `git lfs pull`")
        elif not parquet_ends(path):
            self.missing.append(f"the end of {name}")

    def camera(self, feature: CameraFeature) -> None:
        """The frames of a camera, or the video that it has already."""
        key = feature.key
        names = folder_names(key, [camera.key for camera in self.info.cameras])
        found = frame_folder(self.root, names, self.index, self.info.frame_folder(key, self.index))
        finished = self._video(self.root / self._place(key))
        if found is None:
            if not finished and not self._in_the_table(feature):
                self.missing.append(f"frames of {key}")
            return
        path, entries = found
        for entry in entries:
            self._count(entry.stat())
        depth = feature.depth_info is not None
        folder = sort_entries(path, entries, depth=depth)
        self.missing += [f"{name} of {key}, a copy that is going on" for name in folder.unfinished]
        self.missing += [f"{folder.name_of(number)} of {key}" for number in folder.absent(self.length)]
        ends = tiff_ends if depth else png_ends
        self.frames += [(path / name, ends) for number, name in folder.frames.items() if number < self.length]

    def _video(self, path: Path) -> bool:
        """Whether the camera has its video already; it counts like any other file that may still be arriving."""
        if not path.is_file():
            return False
        self._count(path.stat())
        if is_pointer(path):
            self.missing.append(f"{path.name} of {path.parent.name} itself: run `git lfs pull`")
        elif not mp4_ends(path):
            self.missing.append(f"the end of {path.name} of {path.parent.name}")
        return True

    def _place(self, key: str) -> PurePosixPath:
        """Where the camera's video is, or will be."""
        return self.info.video(key, self.index)

    def _in_the_table(self, feature: CameraFeature) -> bool:
        """Whether no frames are to be expected because the pictures lie in the parquet file."""
        path = self.root / self.info.table(self.index)
        if feature.dtype != "image" or not path.is_file() or not parquet_ends(path):
            return False
        return feature.key in read_table(path, [feature.key]).embedded

    def _count(self, status: os.stat_result) -> None:
        self.files += 1
        self.bytes += status.st_size
        self.newest = max(self.newest, status.st_ctime_ns)
