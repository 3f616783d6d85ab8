"""The order of steps: what is finished, send it, have it confirmed, remember that; then the next."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from episoded.processors import formats
from episoded.processors.destinations.errors import BlockedError, TransientError
from episoded.processors.errors import EpisodedError, InputError

from . import shipment as shipments
from .receipts import Receipts, without_frames
from .server import DamagedError, MovedOnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from episoded.processors.formats.base import Format

    from .server import Seen, Server
    from .shipment import Shipment

#: Pauses between attempts in seconds; the last is repeated.
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
#: How often in one attempt a step is repeated that damaged bytes, or the server's own work, got in the way of.
_REPEATS: Final = 5


class Display(Protocol):
    """Who watches."""

    def begun(self, shipment: Shipment) -> None:
        """Its bytes begin to move."""

    def moved(self, count: int) -> None:
        """So many more of them are there."""

    def confirmed(self, shipment: Shipment, *, sent: bool, removed: int) -> None:
        """The server has all of it; `sent`: since just now. `removed`: frames that went here."""

    def failed(self, name: str, error: EpisodedError) -> None:
        """This one cannot be sent as it is; others can."""

    def held(self, error: EpisodedError, pause_s: float) -> None:
        """The network or the server is in the way."""


@dataclass
class Waiting:
    """What is not sent, and why."""

    name: str
    reason: str


@dataclass
class Pusher:
    """Pushes what is finished of the dataset at `root`. `stop` ends it between two steps."""

    root: Path
    server: Server
    display: Display
    delete_frames: bool = False
    rsync_options: Sequence[str] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    #: What this run has seen to be there: the files of 100 episodes are not looked at again every two seconds.
    done: set[str] = field(default_factory=set)
    _looks: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.receipts = Receipts(self.root, str(self.server))
        #: name -> why it will not be sent by this run.
        self.refused: dict[str, EpisodedError] = {}
        #: Episodes that were encoded here, because the server was out of reach.
        self.encoded: set[str] = set()

    def finished(self, *, still: bool) -> tuple[list[str], list[Waiting]]:
        """Episodes that are whole, and the others; [""] for a dataset that goes as one, and is whole.

        `still`: an episode also has to look as it did in the last call, because it may be being written; and a dataset
        that goes as one is not whole before its recording has ended.
        Raises EpisodedError for a folder that is no dataset, or one that cannot be understood.
        """
        listing = self._layout().listing(self.root)
        if listing.refusal:
            raise listing.refusal
        whole, others = [], [Waiting(name, why) for name, why in listing.orphans]
        if self._layout().name == shipments.LINED and not still:
            too_large = shipments.shared_files(self.root)[1]
            others += [
                Waiting(path, "belongs to no episode, and is too large to go along: copy it") for path in too_large
            ]
        confirmed = self.receipts.confirmed()
        for episode in listing.episodes:
            if why := "" if episode in confirmed else self._not_yet(episode, still=still):
                others.append(Waiting(episode, why))
            else:
                whole.append(episode)
        if not listing.episodes or shipments.is_by_episode(self._layout(), self.root, listing.episodes[0]):
            return whole, others
        if still:
            return [], [Waiting("dataset", "its episodes share files: push it once the recording has ended")]
        return ([] if others else [""]), others

    def _layout(self) -> Format:
        layout = formats.detect(self.root)
        if layout is None:
            raise InputError("not_a_dataset", f"{self.root} is no dataset (yet)", "is the path right?")
        return layout

    def _not_yet(self, episode: str, *, still: bool) -> str:
        """Why an episode cannot go yet, in words; empty when it can."""
        look = self._layout().upload(self.root, episode)
        mark, before = (look.files, look.bytes, look.newest), self._looks.get(episode)
        self._looks[episode] = mark
        if look.missing:
            more = f" and {len(look.missing) - 1} more" if len(look.missing) > 1 else ""
            return f"not whole: {look.missing[0]}{more}"
        return "just written" if still and mark != before else ""

    def has_frames(self, episode: str) -> bool:
        """Whether there is anything left to encode, and the server has not confirmed it."""
        shipment = shipments.pack(self._layout(), self.root, episode)
        return shipment.frames and not shipment.verified and not self.receipts.files(shipment.name)

    def push(self, episode: str) -> bool:
        """See to it that the server has this episode (or, "", the dataset) and has confirmed it.

        False when nothing had to be sent. Raises TransientError, BlockedError, and what is wrong with the data.
        """
        shipment = shipments.pack(self._layout(), self.root, episode)
        known = self.receipts.digest(shipment)
        if known and not (self.delete_frames and shipment.frames):
            return False
        manifest = b"" if known else shipment.manifest()
        digest = known or _digest(manifest)
        seen = self.server.look(shipment)
        if seen.state != "absent" and seen.digest != digest and shipment.verified:
            # What arrived before the server was out of reach, and we encoded: it did not come to our receipt.
            recorded = shipments.pack(self._layout(), self.root, episode, as_recorded=True)
            if _digest(recorded.manifest()) == seen.digest:
                shipment, manifest, digest = recorded, recorded.manifest(), seen.digest
        sent = not (seen.state == "received" and seen.digest == digest)
        if sent:
            self._bring(shipment, manifest or shipment.manifest(), digest, seen)
        if not known or sent:
            self.receipts.write(shipment, digest)
        removed = without_frames(self.root, self.receipts.files(shipment.name)) if self.delete_frames else 0
        self.display.confirmed(shipment, sent=sent, removed=removed)
        return sent

    def push_all(self, episodes: Sequence[str]) -> int:
        """One after the other; one that cannot be sent costs the others nothing. How many were sent.

        Raises TransientError and BlockedError, which stand for all of them.
        """
        count = 0
        for episode in episodes:
            if self.stop.is_set():
                break
            name = episode or "dataset"
            if name in self.done or (name in self.refused and not self.refused[name].retryable):
                continue
            try:
                count += self.push(episode)
                self.refused.pop(name, None)
                self.done.add(name)
            except EpisodedError as error:
                if _concerns_all(error):
                    raise
                self.refused[name] = error
                self.display.failed(name, error)
        return count

    def patiently(self, step: Callable[[], int], *, attempts: int | None) -> int:
        """Repeat `step` while the network or the server is in the way: so often, or (None) until `stop`.

        Raises the last TransientError when there are no attempts left.
        """
        for pause, last in _pauses(attempts):
            try:
                return step()
            except TransientError as error:
                if last:
                    raise
                self.display.held(error, pause)
                if self.stop.wait(pause):
                    return 0
        return 0

    def _bring(self, shipment: Shipment, manifest: bytes, digest: str, seen: Seen) -> None:
        self._refuse_another(shipment, digest, seen)
        if not (seen.state == "placed" and seen.digest == digest):
            self.display.begun(shipment)
            self.server.send(shipment, self.display.moved, self.rsync_options)
        for repeat in range(_REPEATS):
            try:
                self._settle(shipment, manifest, digest, seen)
                return
            except DamagedError:
                self._refuse_changed(shipment, manifest)
                if repeat + 1 == _REPEATS:
                    raise
                self.server.send(shipment, self.display.moved, [*self.rsync_options, "--checksum"])
            except MovedOnError:
                if repeat + 1 == _REPEATS:
                    raise
                seen = self.server.look(shipment)

    def _settle(self, shipment: Shipment, manifest: bytes, digest: str, seen: Seen) -> None:
        lines: dict[str, bytes] = {}
        whole: dict[str, tuple[bytes, bytes | None]] = {}
        if shipment.grows:
            lines = shipments.new_lines(self.root, shipment.id)
            for path in shipments.shared_files(self.root)[0]:
                whole[path] = ((self.root / path).read_bytes(), None)
            self._merge(shipment, seen, whole)
        self.server.settle(shipment, manifest, digest, lines, whole)

    def _merge(self, shipment: Shipment, seen: Seen, whole: dict[str, tuple[bytes, bytes | None]]) -> None:
        """Bring together what recorder and server say in the files that both of them write."""
        lines, confirmed = shipments.episode_lines(self.root), self.receipts.confirmed()
        known = [lines[name] for name in lines if name == shipment.id or name in confirmed]
        try:
            for path in (shipments.INFO, shipments.AGGREGATE):
                if path not in whole:
                    continue
                ours, theirs = whole[path][0], seen.shared.get(path)
                if path == shipments.INFO:
                    merged = shipments.merged_info(ours, theirs, known)
                else:
                    merged = shipments.merged_statistics(ours, theirs, whole[shipments.INFO][0])
                whole[path] = merged, theirs
        except ValueError as error:
            raise TransientError(
                "meta_unsettled", f"a file of meta/, here or on the server, is half written: {error}", "tried again"
            ) from error

    def _refuse_another(self, shipment: Shipment, digest: str, seen: Seen) -> None:
        if shipment.id and seen.state != "absent" and seen.digest != digest:
            raise InputError(
                "episode_differs",
                f"{self.server} has another {shipment.id} already",
                "it belongs to another recording, or was recorded anew: push under another name (--name)",
            )

    def _refuse_changed(self, shipment: Shipment, manifest: bytes) -> None:
        """Damage on the way is rare; a recorder that goes on writing is not."""
        if shipment.manifest() != manifest:
            raise TransientError(
                "changed_while_sent",
                f"{shipment.name} of {self.root} is still being written",
                "tried again; nothing of it is visible on the server",
            )


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


def _concerns_all(error: EpisodedError) -> bool:
    """Whether no other episode can go either: there is no way there, or the dataset there is another recording.

    Of two recordings of one name, the longer would else leave its last episodes with the other.
    """
    if error.code in ("changed_while_sent", "episode_differs"):
        return error.code == "episode_differs"
    return isinstance(error, TransientError | BlockedError)


def _pauses(attempts: int | None) -> Iterator[tuple[float, bool]]:
    """(seconds to wait after the attempt, whether it is the last)."""
    number = 0
    while attempts is None or number < attempts:
        yield PAUSES[min(number, len(PAUSES) - 1)], attempts is not None and number + 1 == attempts
        number += 1
