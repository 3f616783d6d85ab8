"""Raw DROID episodes, as the data set's collection code leaves them and as it was released (1.0.1).

A dataset is a tree of episodes, or a part of one (`droid_tree`). Nothing is ever written into it: outputs go below the
drop folder's `output`, by uuid, and so do the control files. `docs/droid.md` has the layout and every output.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Final

from ..episode import Camera, Episode
from ..errors import EpisodedError, InputError, from_os_error
from .base import Listing, Upload
from .droid_files import DroidCamera, DroidMetadata, find_cameras, read_metadata, without_video
from .droid_tree import METADATA, RECORDINGS, STATE, Tree
from .whole import h5_ends, is_pointer, json_ends, mp4_ends

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: What DROID records at; the real rate of an episode is measured (`tracks.npz`: fps).
NOMINAL_FPS: Final = Fraction(15)
_ENDS: Final = {".mp4": mp4_ends, ".h5": h5_ends, ".json": json_ends}


@dataclass(frozen=True, slots=True)
class DroidEpisode(Episode):
    """A raw DROID episode: `folder` with `state` (trajectory.h5) in it, its metadata and cameras.

    `Episode.cameras` are what the depth stage works on: of each, the stereo video, else the left view. They are never
    encoded: the recorded videos stay where they are.
    """

    folder: Path = field(default_factory=Path)
    state: Path = field(default_factory=Path)
    metadata_file: Path = field(default_factory=Path)
    metadata: DroidMetadata | None = None
    recorded: tuple[DroidCamera, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of it that is read."""
        return (self.metadata_file, self.state, *(path for camera in self.recorded for path in camera.files))


class Droid:
    """The `Format` of raw DROID trees."""

    name = "droid"
    in_place = False
    standalone = True

    def __init__(self) -> None:
        self._tree = Tree()
        self._where: dict[Path, dict[str, str]] = {}

    def detect(self, root: Path) -> bool:
        """Whether it is a tree of episodes, a part of one, or an episode."""
        return self._tree.is_one(root)

    def output(self, top: Path, name: PurePath) -> Path:  # noqa: ARG002 - part of the contract
        """`top` itself: a uuid is unique wherever the episode was dropped, and folder names hold colons."""
        return top

    def listing(self, root: Path) -> Listing:
        """The uuids of the episodes below `root`; orphans are folders without metadata, and second copies."""
        try:
            found, orphans = self._find(root)
        except OSError as error:
            return Listing((), refusal=from_os_error(error))
        return Listing(tuple(found), tuple(orphans))

    def names_at(self, root: Path, place: PurePath) -> Iterator[str]:
        """The uuid in a path, or of the episode folder that the path lies in."""
        yield from (part.removesuffix(".json").removeprefix("metadata_") for part in place.parts)
        for folder in self._tree.episodes(root):
            if f"{root / place}/".startswith(f"{folder.path}/"):
                yield folder.uuid

    def places(self, root: Path) -> Iterator[Path]:
        """The days, and what is above them."""
        return self._tree.places(root)

    def folder(self, root: Path, episode_id: str) -> Path:
        """The episode's own."""
        return self._folder(root, episode_id)

    def upload(self, root: Path, episode_id: str) -> Upload:
        """What has arrived in the episode's folder; recordings that are not there are not waited for."""
        try:
            return _look_at(self._folder(root, episode_id), episode_id)
        except EpisodedError as error:
            return Upload(0, 0, 0, (error.message,))
        except OSError as error:
            return Upload(0, 0, 0, (from_os_error(error).message,))

    def load(self, root: Path, episode_id: str, output: Path) -> DroidEpisode:
        """One episode with its files.

        Raises InputError: `episode_unknown`, `metadata_unreadable`, and what `droid_state.read_extent` raises.
        """
        from .droid_state import read_extent

        try:
            folder = self._folder(root, episode_id)
            metadata = read_metadata(folder / f"metadata_{episode_id}.json", episode_id)
            length, fps = read_extent(folder / STATE)
            recorded = find_cameras(folder, metadata.serials, metadata.poses)
            return DroidEpisode(
                root=root,
                output=output,
                id=episode_id,
                index=0,
                length=length,
                fps=fps or NOMINAL_FPS,
                cameras=tuple(_camera(camera, root, episode_id, fps or NOMINAL_FPS) for camera in recorded),
                notes=metadata.notes,
                folder=folder,
                state=folder / STATE,
                metadata_file=folder / f"metadata_{episode_id}.json",
                metadata=metadata,
                recorded=recorded,
            )
        except OSError as error:
            raise from_os_error(error) from error

    def own_files(self, output: Path, episode_id: str) -> Sequence[PurePosixPath]:  # noqa: ARG002 - part of the contract
        """None: what was recorded stays where it was dropped, what stages made is known from their checkpoints."""
        return ()

    def shared_files(self, output: Path) -> Sequence[PurePosixPath]:  # noqa: ARG002 - part of the contract
        """None."""
        return ()

    def _find(self, root: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
        found: dict[str, str] = {}
        orphans: list[tuple[str, str]] = []
        for folder in self._tree.episodes(root):
            if folder.uuid and folder.uuid not in found:
                found[folder.uuid] = folder.path
                continue
            name = os.path.relpath(folder.path, root) if folder.path != str(root) else root.name
            if folder.uuid:
                orphans.append((name, f"a second copy of {folder.uuid}; used is {found[folder.uuid]}"))
            else:
                orphans.append((name, f"{STATE}, but no {METADATA}: still arriving, or the recording was cut off"))
        self._where[root] = dict(sorted(found.items()))
        return self._where[root], orphans

    def _folder(self, root: Path, episode_id: str) -> Path:
        """Where an episode lies. Remembered: asked for each of them, and walking a large tree each time takes hours."""
        name = f"metadata_{episode_id}.json"
        folder = self._where.get(root, {}).get(episode_id)
        if folder is None or not Path(folder, name).is_file():
            folder = self._find(root)[0].get(episode_id)
        if folder is None:
            raise InputError(
                "episode_unknown",
                f"there is no {name} below {root}",
                "was the episode moved away? Drop it again, then retry",
            )
        return Path(folder)


def _camera(camera: DroidCamera, root: Path, uuid: str, fps: Fraction) -> Camera:
    """Its video says 60 frames per second, the camera's rate; there is one frame for each row but one."""
    video = camera.stereo or camera.mp4
    place = PurePosixPath(uuid, RECORDINGS, camera.serial)
    return Camera(
        key=camera.serial,
        frames=None,
        video=PurePosixPath(video.relative_to(root) if video else f"{uuid}/{camera.serial}.mp4"),
        depth=place / "depth.mkv",
        rate=fps,
        stereo=place / "intrinsics.json",
        absent=without_video(camera),
    )


def _look_at(folder: Path, uuid: str) -> Upload:
    files = size = newest = 0
    missing = [] if (folder / STATE).is_file() else [STATE]
    for path in _files(folder):
        status = path.stat()
        files, size, newest = files + 1, size + status.st_size, max(newest, status.st_ctime_ns)
        if is_pointer(path):
            missing.append(f"{path.name} itself: a Git LFS pointer lies there, run `git lfs pull`")
        elif not _ENDS.get(path.suffix, _has_content)(path):
            missing.append(f"the end of {path.name} of {uuid}")
    return Upload(files, size, newest, tuple(missing))


def _files(folder: Path) -> Iterator[Path]:
    """The files that are read, and no `trajectory_im128.h5`."""
    for place in (folder, folder / RECORDINGS, folder / RECORDINGS / "MP4", folder / RECORDINGS / "SVO"):
        if place.is_dir():
            yield from (Path(entry) for entry in sorted(os.scandir(place), key=lambda e: e.name) if _counts(entry))


def _counts(entry: os.DirEntry[str]) -> bool:
    known = (".json", ".mp4", ".svo", ".svo2")
    return entry.is_file() and (entry.name == STATE or entry.name.endswith(known))


def _has_content(path: Path) -> bool:
    return path.stat().st_size > 0
