"""LeRobot datasets v2.0 and v2.1 whose cameras are still PNG frames, as recorders and edge computers leave them.

Nothing that the metadata says is taken on trust where a file can be looked at; nothing is ever shifted to make up for
a frame that is not there. `docs/formats.md` has every layout and defect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from ..errors import EpisodedError, InputError, from_os_error
from . import lerobot_info as meta
from .base import Upload
from .lerobot_listing import Listings
from .lerobot_load import load_episode
from .lerobot_upload import look_at
from .signatures import Signature, signature_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from ..episode import Episode
    from .base import Listing
    from .lerobot_info import DatasetInfo

_EPISODE_ID: Final = re.compile(r"episode_(\d{6,})")


@dataclass(frozen=True, slots=True)
class _Meta:
    """The metadata of a dataset, as long as its two files have these signatures."""

    root: Path
    signatures: tuple[Signature, Signature]
    info: DatasetInfo
    lengths: dict[int, int]

    @property
    def indices(self) -> Collection[int]:
        """The episodes with a line in `meta/episodes.jsonl`."""
        return self.lengths

    def lacking(self, index: int) -> str:
        """What another lacks; its table may be there, when only its line is not."""
        has_table = (self.root / self.info.table(index)).is_file()
        return "no line in meta/episodes.jsonl" if has_table else "no table and no line in meta/episodes.jsonl"


class LeRobot:
    """The `Format` of LeRobot v2.0 and v2.1."""

    name = "lerobot"
    in_place = True
    standalone = False

    def __init__(self) -> None:
        self._metas: dict[Path, _Meta] = {}
        self._listings = Listings()

    def detect(self, root: Path) -> bool:
        """Whether there is a `meta/info.json`."""
        return (root / meta.INFO).is_file()

    def listing(self, root: Path) -> Listing:
        """The episodes with a line in `meta/episodes.jsonl`; orphans are those of which only frames are known."""
        return self._listings.at(root, self._meta)

    def output(self, top: Path, name: PurePath) -> Path:
        """The same place below `top`."""
        return top / name

    def names_at(self, root: Path, place: PurePath) -> Iterator[str]:  # noqa: ARG002 - part of the contract
        """A folder, a table or video without its suffix, hyphens as underscores."""
        for part in place.parts:
            stem = PurePath(part).stem
            yield from dict.fromkeys((part, stem, re.sub(r"-(\d+)$", r"_\1", stem)))

    def places(self, root: Path) -> Iterator[Path]:
        """The metadata, where its line appears."""
        yield root / "meta"

    def folder(self, root: Path, episode_id: str) -> None:
        """None: cameras have folders, and tables and `meta/` are shared by all."""

    def upload(self, root: Path, episode_id: str) -> Upload:
        """What has arrived of the episode's frames, table and finished videos."""
        try:
            known, index = self._find(root, episode_id)
            return look_at(root, known.info, index, known.lengths[index])
        except EpisodedError as error:
            return Upload(0, 0, 0, (error.message,))
        except OSError as error:
            return Upload(0, 0, 0, (from_os_error(error).message,))

    def load(self, root: Path, episode_id: str, output: Path) -> Episode:
        """One episode, checked by names and counts.

        Raises InputError: `episode_unknown`, `meta_invalid`, `version_unsupported`, and the codes of
        `load_episode`.
        """
        try:
            known, index = self._find(root, episode_id)
            return load_episode(root, output, known.info, index, known.lengths[index])
        except OSError as error:
            raise from_os_error(error) from error

    def own_files(self, output: Path, episode_id: str) -> Sequence[PurePosixPath]:
        """Table, videos and sounds, as far as they are there."""
        known, index = self._find(output, episode_id)
        return meta.own_files(output, known.info, index)

    def shared_files(self, output: Path) -> Sequence[PurePosixPath]:
        """What lies in `meta/`."""
        return meta.shared_files(output)

    def _meta(self, root: Path) -> _Meta:
        info, episodes = root / meta.INFO, root / meta.EPISODES
        signatures = (signature_of(info), signature_of(episodes))
        known = self._metas.get(root)
        if known is None or known.signatures != signatures:
            self._metas.pop(root, None)
            known = self._metas[root] = _Meta(root, signatures, meta.read_info(info), meta.read_lengths(episodes))
        return known

    def _find(self, root: Path, episode_id: str) -> tuple[_Meta, int]:
        known = self._meta(root)
        match = _EPISODE_ID.fullmatch(episode_id)
        if match is None or int(match[1]) not in known.lengths:
            raise InputError(
                "episode_unknown",
                f"{root / meta.EPISODES} has no line for {episode_id}",
                "upload this file again after the recording has ended, then retry",
            )
        return known, int(match[1])
