"""Videos by themselves: a file in a drop folder is a dataset of one episode of one camera.

The file is never written to. What is made of it lies in a folder beside it (or below `output` of the drop folder) that
is called like the file and `.out`: `clip.mp4.out/depth.mkv`; so do its control files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Final

from ..episode import Camera, Episode
from ..errors import InputError, from_os_error
from .base import Listing, Upload
from .names import OUTPUT_SUFFIX, is_video
from .whole import is_pointer, mp4_cut_off, mp4_ends

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


CAMERA: Final = "video"
#: Names that mean something else in a control folder.
_RESERVED: Final = ("pending", "lock")
_BOXES: Final = (".mp4", ".mov", ".m4v")


@dataclass(frozen=True, slots=True)
class VideoEpisode(Episode):
    """A video by itself: `length` and `fps` are what its headers say, which nothing should believe."""


class Video:
    """The `Format` of single video files. `root` is the file."""

    name = "video"
    in_place = True
    standalone = True

    def detect(self, root: Path) -> bool:
        """Whether it is a file with the name of a video."""
        return is_video(root.name) and root.is_file()

    def output(self, top: Path, name: PurePath) -> Path:
        """A folder of its own: two videos may differ in their suffix only."""
        return top / name.with_name(name.name + OUTPUT_SUFFIX)

    def names_at(self, root: Path, place: PurePath) -> Iterator[str]:  # noqa: ARG002 - part of the contract
        """There is only one episode."""
        yield _id(root)

    def places(self, root: Path) -> Iterator[Path]:  # noqa: ARG002 - part of the contract
        """None: a file does not grow episodes."""
        return iter(())

    def listing(self, root: Path) -> Listing:
        """The one episode, called like the file without its suffix."""
        return Listing((_id(root),))

    def folder(self, root: Path, episode_id: str) -> None:
        """None: the dataset is a file."""

    def upload(self, root: Path, episode_id: str) -> Upload:  # noqa: ARG002 - there is only one
        """Whether the file has arrived: for MP4 and MOV its end tells, others only stop growing."""
        try:
            status = root.stat()
            whole = root.suffix.lower() not in _BOXES or mp4_ends(root)
        except OSError as error:
            return Upload(0, 0, 0, (from_os_error(error).message,))
        return Upload(1, status.st_size, status.st_ctime_ns, () if whole else (f"the end of {root.name}",))

    def load(self, root: Path, episode_id: str, output: Path) -> Episode:
        """The episode, as far as headers tell.

        Raises InputError: `lfs_pointer`, `video_cut_off`, and the codes of `media.video`.
        """
        from ..media import video

        try:
            if not is_pointer(root) and root.suffix.lower() in _BOXES and mp4_cut_off(root):
                raise InputError(
                    "video_cut_off",
                    f"{root} ends in the middle: it is longer by its own account than the file",
                    "copy it again from where it was recorded, then retry",
                )
        except OSError as error:
            raise from_os_error(error) from error
        info = video.probe(root)
        camera = Camera(CAMERA, None, PurePosixPath(root.name), (info.height, info.width), PurePosixPath("depth.mkv"))
        rate = info.fps or Fraction(30)
        return VideoEpisode(root.parent, output, episode_id, 0, info.frames, rate, (camera,))

    def own_files(self, output: Path, episode_id: str) -> Sequence[PurePosixPath]:  # noqa: ARG002 - part of the contract
        """Nothing but what the stages made."""
        return ()

    def shared_files(self, output: Path) -> Sequence[PurePosixPath]:  # noqa: ARG002 - part of the contract
        """None: nothing is shared by one episode."""
        return ()


def _id(root: Path) -> str:
    stem = os.path.splitext(root.name)[0]  # noqa: PTH122 - `Path.stem` of ".mp4" is the whole name
    return f"video-{stem}" if stem in _RESERVED else stem
