"""The PNG frames of LeRobot recordings: in which folders they lie, and what lies there with them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from .names import is_ignored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import PurePosixPath

_EPISODE: Final = re.compile(r"episode[_-](\d+)")
_FRAME: Final = re.compile(r"(?:frame[_-])?(\d+)\.png", re.IGNORECASE)
_DEPTH_FRAME: Final = re.compile(r"(?:frame[_-])?(\d+)\.tiff?", re.IGNORECASE)
_OTHER_PICTURE: Final = re.compile(r"(?:frame[_-])?\d+\.(?:png|jpe?g|bmp|tiff?|webp|npy)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FrameFolder:
    """What lies in the folder of one camera of one episode.

    `frames`: frame number -> file name. `doubles`: pairs of names that claim the same number. `unfinished`: names of
    temporary files of a copy that is going on. `pictures`: frames in another format than the camera's.
    """

    path: Path
    frames: dict[int, str]
    doubles: tuple[tuple[str, str], ...] = ()
    unfinished: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()

    def absent(self, length: int) -> list[int]:
        """The numbers below `length` that have no file, ascending."""
        return [number for number in range(length) if number not in self.frames]

    def name_of(self, number: int) -> str:
        """The name that a missing frame would have, in the manner of its neighbours."""
        like = next(iter(self.frames.values()), "frame_000000.png")
        return re.sub(r"\d+(?=\.)", lambda digits: f"{number:0{len(digits[0])}d}", like)


def frame_folder(
    root: Path, names: Sequence[str], index: int, own: PurePosixPath | None = None
) -> tuple[Path, list[os.DirEntry[str]]] | None:
    """The folder with the frames of a camera of an episode and its entries; None when there are none.

    `names` are what the camera's folder may be called, its key first; `own` is the folder by the dataset's own
    template. LeRobot v2.x writes underscores, v3.0 hyphens. Raises InputError (`frames_ambiguous`) when two folders
    hold entries: nobody can say which of them belong to the episode.
    """
    candidates = dict.fromkeys([root / own] if own else [])
    for camera in names:
        candidates |= dict.fromkeys(root / "images" / camera / f"episode{mark}{index:06d}" for mark in "_-")
    found = [(path, entries) for path in candidates if (entries := _entries(path))]
    if len(found) > 1:
        raise InputError(
            "frames_ambiguous",
            f"frames of {names[0]} of episode {index} lie in two places: {found[0][0]} and {found[1][0]}",
            "keep the folder that belongs to the episode, move the other out of the dataset, then retry",
        )
    return found[0] if found else None


def folder_names(key: str, keys: Sequence[str]) -> tuple[str, ...]:
    """What the folder of camera `key` may be called, among the cameras `keys` of the dataset.

    Some recorders leave the `observation.images.` out. That is understood only where it can mean no other camera.
    """
    short = key.rpartition(".")[2]
    shared = sum(other == short or other.rpartition(".")[2] == short for other in keys) > 1
    return (key,) if shared or short in ("", key) else (key, short)


def sort_entries(path: Path, entries: Iterable[os.DirEntry[str]], *, depth: bool = False) -> FrameFolder:
    """Tell the frames of a folder from what else lies there, by name: PNG files, or the TIFF of a depth camera."""
    pattern = _DEPTH_FRAME if depth else _FRAME
    frames: dict[int, str] = {}
    doubles, unfinished, pictures = [], [], []
    for entry in entries:
        if match := pattern.fullmatch(entry.name):
            other = frames.setdefault(int(match[1]), entry.name)
            if other != entry.name:
                doubles.append((other, entry.name))
        elif _is_temporary(entry.name):
            unfinished.append(entry.name)
        elif _OTHER_PICTURE.fullmatch(entry.name):
            pictures.append(entry.name)
    return FrameFolder(path, frames, tuple(doubles), tuple(sorted(unfinished)), tuple(sorted(pictures)))


def camera_folders(root: Path) -> list[str]:
    """The paths of the camera folders below `images/`, sorted; none when there is no such folder."""
    return sorted(entry.path for entry in _entries(root / "images") if entry.is_dir() and not is_ignored(entry.name))


def episodes_in(camera_folder: str) -> Iterator[tuple[int, str]]:
    """(episode index, path) of each episode folder of a camera."""
    for entry in _entries(Path(camera_folder)):
        if (match := _EPISODE.fullmatch(entry.name)) and entry.is_dir():
            yield int(match[1]), entry.path


def count_frames(folder: str) -> int:
    """How many frames lie in an episode's folder."""
    names = (entry.name for entry in _entries(Path(folder)))
    return sum(1 for name in names if _FRAME.fullmatch(name) or _DEPTH_FRAME.fullmatch(name))


def check_inside(path: Path, root: Path) -> None:
    """Raise InputError (`symlink_outside`) when `path`, with every symlink followed, lies outside of `root`.

    What lies outside was not uploaded, may change or vanish at any time, and must never be written or removed.
    """
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath((real, real_root)) != real_root:
        raise InputError(
            "symlink_outside",
            f"{path} is a symlink that leads out of the dataset, to {real}",
            "replace the symlink by the files themselves, then retry",
        )


def _is_temporary(name: str) -> bool:
    """A partial copy of a frame; not the `.DS_Store` that a desktop leaves for good."""
    return is_ignored(name) and (".png" in name.lower() or ".tif" in name.lower())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
