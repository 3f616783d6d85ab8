"""Listings of LeRobot datasets of any version, kept as long as what they come from stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import EpisodedError, from_os_error
from .base import Listing
from .lerobot_info import episode_id
from .lerobot_orphans import find_orphans
from .signatures import Signature, signatures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path


class Known(Protocol):
    """What has been read of a dataset: another object once its files have changed."""

    @property
    def indices(self) -> Collection[int]:
        """The episodes, in order."""

    def lacking(self, index: int) -> str:
        """What keeps an episode of which only frames are there from being one."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listing, as long as the dataset is the same object and these folders have these signatures."""

    known: Known
    folders: dict[str, Signature]
    listing: Listing


class Listings:
    """The last listing of each dataset; orphans are episodes of which only frames are known."""

    def __init__(self) -> None:
        self._listed: dict[Path, _Listed] = {}

    def at(self, root: Path, read: Callable[[Path], Known]) -> Listing:
        """That of the dataset at `root`, of what `read(root)` gives; what it raises is the listing's refusal."""
        try:
            known, listed = read(root), self._listed.get(root)
            if listed is None or listed.known is not known or listed.folders != signatures_of(listed.folders):
                listed = self._listed[root] = _list(root, known)
        except EpisodedError as error:
            return Listing((), refusal=error)
        except OSError as error:
            return Listing((), refusal=from_os_error(error))
        return listed.listing


def _list(root: Path, known: Known) -> _Listed:
    orphans, folders = find_orphans(root, known.indices, known.lacking)
    return _Listed(known, folders, Listing(tuple(map(episode_id, known.indices)), orphans))
