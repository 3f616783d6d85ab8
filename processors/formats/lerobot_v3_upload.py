"""What has arrived of one episode of a v3.0 recording, and what of a whole one is missing."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..lerobot.v30.reading import episode_files
from .lerobot_upload import Look
from .lerobot_v3_videos import place_of
from .whole import parquet_ends
from .writers import writer_of

if TYPE_CHECKING:
    from .base import Upload
    from .lerobot_v3_recording import Recording


def look_at_recorded(recording: Recording, index: int) -> Upload:
    """Every input file of an episode, and the files of `meta/episodes`.

    A file without its end may be one that its recorder still holds open: that is missed like a frame, until nothing
    has changed for so long that the recorder must have died. Raises OSError and InputError.
    """
    look = _Look(recording, index)
    look.tables()
    for camera in recording.cameras:
        if camera.dtype == "video":
            look.camera(camera)
    return look.result()


class _Look(Look):
    """As of v2.x, but for the tables, which many episodes share."""

    def __init__(self, recording: Recording, index: int) -> None:
        super().__init__(recording.root, recording, index, recording.entries[index].length)
        self.recording = recording

    def tables(self) -> None:
        """The file with the episode's rows, and those that list the episodes."""
        self._table(self.recording.table(self.index))
        listed = episode_files(self.root)
        for name in listed:
            self._table(name)
        if not listed:
            self.missing.append("meta/episodes")

    def _table(self, name: PurePosixPath) -> None:
        path = self.root / name
        self._count(path.stat())
        if not parquet_ends(path):
            if pid := writer_of(path, recently=True):
                self.newest = time.time_ns()  # it changes as long as somebody has it open, however long that takes
            self.missing.append(f"the end of {name}" + (f", which process {pid} is writing" if pid else ""))

    def _place(self, key: str) -> PurePosixPath:
        place = place_of(self.recording, key, self.index)
        return PurePosixPath(place.left.relative_to(self.root)) if place.left else place.file
