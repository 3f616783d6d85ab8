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
from .base import Listing, Upload
from .lerobot_load import load_episode
from .lerobot_orphans import find_orphans
from .lerobot_upload import look_at
from .signatures import Signature, signature_of, signatures_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from ..episode import Episode
    from .lerobot_info import DatasetInfo

_EPISODE_ID: Final = re.compile(r"episode_(\d{6,})")


@dataclass(frozen=True, slots=True)
class _Meta:
    """The metadata of a dataset, as long as its two files have these signatures."""

    signatures: tuple[Signature, Signature]
    info: DatasetInfo
    lengths: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listing, as long as the metadata is the same and these folders have these signatures."""

    meta: _Meta
    folders: dict[str, Signature]
    listing: Listing


class LeRobot:
    """The `Format` of LeRobot v2.0 and v2.1."""

    name = "lerobot"
    in_place = True

    def __init__(self) -> None:
        self._metas: dict[Path, _Meta] = {}
        self._listed: dict[Path, _Listed] = {}

    def detect(self, root: Path) -> bool:
        """Whether there is a `meta/info.json`."""
        return (root / meta.INFO).is_file()

    def listing(self, root: Path) -> Listing:
        """The episodes with a line in `meta/episodes.jsonl`; orphans are those of which only frames are known."""
        try:
            known, listed = self._meta(root), self._listed.get(root)
            if listed is None or listed.meta is not known or listed.folders != signatures_of(listed.folders):
                listed = self._listed[root] = _list(root, known)
        except EpisodedError as error:
            return Listing((), refusal=error)
        except OSError as error:
            return Listing((), refusal=from_os_error(error))
        return listed.listing

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
            known = self._metas[root] = _Meta(signatures, meta.read_info(info), meta.read_lengths(episodes))
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


def _list(root: Path, known: _Meta) -> _Listed:
    """The listing; an orphan's table may be there, when only its line in `meta/episodes.jsonl` is not."""
    orphans, signatures = find_orphans(
        root,
        known.lengths,
        lambda index: (
            "no line in meta/episodes.jsonl"
            if (root / known.info.table(index)).is_file()
            else "no table and no line in meta/episodes.jsonl"
        ),
    )
    return _Listed(known, signatures, Listing(tuple(meta.episode_id(index) for index in known.lengths), orphans))
