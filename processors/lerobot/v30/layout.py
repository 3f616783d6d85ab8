"""Where LeRobot v3.0 keeps what: many episodes to a file, files numbered within chunks.

Source: `lerobot/datasets/utils.py` of lerobot 0.4.4.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, NamedTuple

V21: Final = "v2.1"
V30: Final = "v3.0"

DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS_PATH: Final = PurePosixPath("meta/tasks.parquet")

#: Files in a chunk; and the size in MiB beyond which no further episode is put into a file.
CHUNKS_SIZE: Final = 1000
DATA_FILE_MB: Final = 100
VIDEO_FILE_MB: Final = 200


class FileIndex(NamedTuple):
    """The number of a file: its chunk, and its place in the chunk."""

    chunk: int = 0
    file: int = 0

    def following(self, chunks_size: int = CHUNKS_SIZE) -> FileIndex:
        """The next file, in the next chunk when this one is full."""
        return FileIndex(self.chunk, self.file + 1) if self.file + 1 < chunks_size else FileIndex(self.chunk + 1, 0)

    def path(self, template: str, key: str = "") -> PurePosixPath:
        """The file's path by a template of this module or of `meta/info.json`; `key` is the camera's."""
        return PurePosixPath(template.format(chunk_index=self.chunk, file_index=self.file, video_key=key))


FIRST_FILE: Final = FileIndex()
