"""What the daemon asks of a dataset layout: find it, list it, say what has arrived, read one episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path, PurePath, PurePosixPath

    from ..episode import Episode
    from ..errors import EpisodedError


@dataclass(frozen=True, slots=True)
class Listing:
    """The episodes of a dataset by name only: what every scan reads, so it costs no more than a few directory reads.

    `episodes`: ids that the dataset's metadata knows, in index order. `orphans`: id -> why frames of an episode that
    the metadata does not know lie there (a session killed in the middle): reported, never claimed, never touched.
    `refusal`: why nothing in this dataset can be processed at all, or None.
    """

    episodes: tuple[str, ...]
    orphans: tuple[tuple[str, str], ...] = ()
    refusal: EpisodedError | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """What of an episode has arrived: a fingerprint to watch for change, and what is still missing.

    `newest` is the largest ctime in ns: not mtime, which `rsync -t` and `cp -p` set back. `missing` says in words
    what an episode that looks complete would have ("frame_000012.png of observation.images.top"); empty = looks whole.
    """

    files: int
    bytes: int
    newest: int
    missing: tuple[str, ...]


class Format(Protocol):
    """One dataset layout. Implementations keep no state but caches keyed by file signature."""

    name: str
    #: Whether a dataset may be finished where it lies; else nothing is written into it, and an `output` is needed.
    in_place: bool
    #: Whether an episode is whole without the others and without files that all share: it need not lie here to count.
    standalone: bool

    def detect(self, root: Path) -> bool:
        """Whether `root` is a dataset of this layout (a few stats, no reading)."""

    def listing(self, root: Path) -> Listing:
        """The episodes at `root`; never raises for bad content: that is a `refusal`."""

    def output(self, top: Path, name: PurePath) -> Path:
        """Where the dataset called `name` (its path below the drop folder) is finished below an output folder `top`."""

    def names_at(self, root: Path, place: PurePath) -> Iterable[str]:
        """The ids that `place`, a path inside `root`, may stand for, the most likely first."""

    def places(self, root: Path) -> Iterator[Path]:
        """The folders in which a new episode shows: what is worth a watch besides `root`."""

    def folder(self, root: Path, episode_id: str) -> Path | None:
        """The folder that holds all of an episode and of no other; None where episodes lie among each other.

        Raises InputError (`episode_unknown`).
        """

    def upload(self, root: Path, episode_id: str) -> Upload:
        """Stat every input file of one episode (milliseconds; asked only while it arrives)."""

    def load(self, root: Path, episode_id: str, output: Path) -> Episode:
        """Read one episode fully checked by names and counts. Raises InputError naming the file, frame or key."""

    def own_files(self, output: Path, episode_id: str) -> Sequence[PurePosixPath]:
        """Files below `output` that belong to one episode where it is published, whether a stage made them or not.

        Those that exist, and do not change once the episode is ready: its table, its videos, its sounds. Raises
        InputError.
        """

    def shared_files(self, output: Path) -> Sequence[PurePosixPath]:
        """Files below `output` that change as episodes finish (`meta/*`): published anew with each batch."""
