"""LeRobot v3.0 recordings that their recorder did not finish: never encoded, killed, or both.

A recording is whole once its recorder has closed its files (`finalize()`). One that was killed never gets there: what
it wrote is taken for all there will be when nothing has changed for `incomplete_s`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import EpisodedError, InputError, from_os_error
from . import lerobot_info as meta
from .base import Upload
from .lerobot_listing import Listings
from .lerobot_v3_finished import video_files
from .signatures import Signature, signature_of, signatures_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path, PurePath, PurePosixPath

    from ..episode import Episode
    from .base import Listing
    from .lerobot_v3_recording import Recording

_EPISODE_ID: Final = re.compile(r"episode_(\d{6,})")
_TABLES: Final = ("data/*/*.parquet", "meta/episodes/*/*.parquet", ".episoded/as_recorded/*")
_V3: Final = re.compile(rb'"codebase_version"\s*:\s*"v?3\.')


@dataclass(frozen=True, slots=True)
class _Known:
    """A recording, as long as its files have these signatures."""

    signatures: dict[str, Signature]
    recording: Recording

    @property
    def indices(self) -> Collection[int]:
        """The episodes of which there are rows."""
        return self.recording.entries.keys()

    def lacking(self, index: int) -> str:  # noqa: ARG002 - part of the contract
        """What another lacks."""
        return "no rows in data/"


class LeRobotV3:
    """The `Format` of LeRobot v3.0."""

    name = "lerobot-v3"
    in_place = True
    standalone = False

    def __init__(self) -> None:
        self._versions: dict[Path, tuple[Signature, bool]] = {}
        self._known: dict[Path, _Known] = {}
        self._listings = Listings()

    def detect(self, root: Path) -> bool:
        """Whether there is a `meta/info.json` that says v3."""
        path = root / meta.INFO
        signature, known = signature_of(path), self._versions.get(root)
        if known is None or known[0] != signature:
            try:
                known = (signature, path.is_file() and _V3.search(path.read_bytes()) is not None)
            except OSError:  # there is none, or whoever takes it for v2.x will say what is wrong with it
                known = (signature, False)
            self._versions[root] = known
        return known[1]

    def listing(self, root: Path) -> Listing:
        """The episodes of which there are rows; orphans are those of which only frames are known."""
        return self._listings.at(root, self._read)

    def output(self, top: Path, name: PurePath) -> Path:
        """The same path below `top`."""
        return top / name

    def names_at(self, root: Path, place: PurePath) -> Iterator[str]:  # noqa: ARG002 - part of the contract
        """A folder of frames, its hyphens as underscores."""
        for part in place.parts:
            yield from dict.fromkeys((part, part.replace("-", "_")))

    def places(self, root: Path) -> Iterator[Path]:
        """The metadata, which a recorder writes with every episode."""
        yield root / "meta"

    def folder(self, root: Path, episode_id: str) -> None:
        """None: cameras have folders, and tables and `meta/` are shared by all."""

    def upload(self, root: Path, episode_id: str) -> Upload:
        """What has arrived of the episode's frames, of the file with its rows, and of `meta/episodes`."""
        from .lerobot_v3_upload import look_at_recorded

        try:
            recording, index = self._find(root, episode_id)
            return look_at_recorded(recording, index)
        except EpisodedError as error:
            return Upload(0, 0, 0, (error.message,))
        except OSError as error:
            return Upload(0, 0, 0, (from_os_error(error).message,))

    def load(self, root: Path, episode_id: str, output: Path) -> Episode:
        """One episode, checked by names and counts. Raises as `load_recorded`, and `episode_unknown`."""
        from .lerobot_v3_load import load_recorded

        try:
            recording, index = self._find(root, episode_id)
            return load_recorded(recording, output, index)
        except OSError as error:
            raise from_os_error(error) from error

    def own_files(self, output: Path, episode_id: str) -> Sequence[PurePosixPath]:
        """The videos that hold no other episode."""
        from .lerobot_v3_videos import place_of

        recording, index = self._find(output, episode_id)
        keys = (camera.key for camera in recording.cameras if camera.dtype == "video")
        places = (place_of(recording, key, index) for key in keys)
        return [place.file for place in places if place.start is None and (output / place.file).is_file()]

    def shared_files(self, output: Path) -> Sequence[PurePosixPath]:
        """What lies in `meta/` and `data/`, and the videos of several episodes."""
        from .lerobot_v3_tables import table_files
        from .lerobot_v3_videos import shared_videos

        return [*meta.shared_files(output), *table_files(output), *shared_videos(self._read(output).recording)]

    def recording(self, root: Path) -> Recording:
        """What there is of the dataset. Raises as `read_recording`."""
        return self._read(root).recording

    def _read(self, root: Path) -> _Known:
        from .lerobot_v3_recording import read_recording

        signatures = _signatures(root)
        known = self._known.get(root)
        if known is None or known.signatures != signatures:
            self._known.pop(root, None)
            known = self._known[root] = _Known(signatures, read_recording(root))
        return known

    def _find(self, root: Path, episode_id: str) -> tuple[Recording, int]:
        recording = self._read(root).recording
        match = _EPISODE_ID.fullmatch(episode_id)
        if match is None or int(match[1]) not in recording.entries:
            raise InputError(
                "episode_unknown",
                f"{root} has no rows of {episode_id}",
                "upload its files again after the recording has ended, then retry",
            )
        return recording, int(match[1])


def _signatures(root: Path) -> dict[str, Signature]:
    """Of every file that says which episodes there are."""
    tables = [path for pattern in _TABLES for path in root.glob(pattern)]
    return signatures_of(map(str, (root / meta.INFO, root / "meta/tasks.parquet", *tables, *video_files(root))))
