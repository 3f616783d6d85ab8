"""What is finished, and in which order it goes; what is in the way of one episode, and what of all."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from episoded.processors import formats
from episoded.processors.destinations.errors import BlockedError, TransientError
from episoded.processors.errors import EpisodedError, InputError

from . import shipment as shipments
from .delivery import Delivery
from .receipts import Receipts, without_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from episoded.processors.formats.base import Format

    from .server import Server
    from .shipment import Shipment

#: Pauses between attempts in seconds; the last is repeated.
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
_T = TypeVar("_T")


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
        delivery = self._staged(episode)
        return delivery is not None and self._confirmed(delivery)

    def push_all(self, episodes: Sequence[str]) -> int:
        """All of them, in this order; one that cannot be sent costs the others nothing. How many were sent.

        While one is compared and given its place there, the bytes of the next are on their way.
        Raises TransientError and BlockedError, which stand for all of them.
        """
        count = 0
        before: tuple[str, Callable[[], bool]] = "", lambda: False
        with ThreadPoolExecutor(1, "confirming") as confirming:
            try:
                for episode in episodes:
                    name = episode or "dataset"
                    if self.stop.is_set():
                        break
                    if name in self.done or (name in self.refused and not self.refused[name].retryable):
                        continue
                    delivery = self._tried(name, functools.partial(self._staged, episode))
                    count += bool(self._tried(*before))
                    if delivery:
                        before = name, confirming.submit(self._confirmed, delivery).result
                    else:
                        before = "", lambda: False
                count += bool(self._tried(*before))
            except KeyboardInterrupt:
                self.server.ssh.close()  # what is being confirmed there is not waited for
                raise
        return count

    def _tried(self, name: str, step: Callable[[], _T]) -> _T | None:
        """What a step comes to; None where it fails for this episode alone, which is remembered."""
        try:
            return step()
        except EpisodedError as error:
            if _concerns_all(error):
                raise
            self.refused[name] = error
            self.display.failed(name, error)
            return None

    def _staged(self, episode: str) -> Delivery | None:
        """An episode whose bytes have all been sent; None where the receipt says that nothing is left to do."""
        layout = self._layout()
        shipment = shipments.pack(layout, self.root, episode)
        known = self.receipts.digest(shipment)
        if known and not (self.delete_frames and shipment.frames):
            self._has_arrived(shipment.name)
            return None
        recorded = functools.partial(shipments.pack, layout, self.root, episode, as_recorded=True)
        delivery = Delivery(self.server, self.receipts, shipment, known or "", recorded)
        delivery.stage(self.display, self.rsync_options)
        return delivery

    def _confirmed(self, delivery: Delivery) -> bool:
        """The rest of the way; whether there was one left."""
        arrived = delivery.confirm(self.rsync_options)
        shipment = delivery.shipment
        removed = without_frames(self.root, self.receipts.files(shipment.name)) if self.delete_frames else 0
        self.display.confirmed(shipment, sent=arrived, removed=removed)
        self._has_arrived(shipment.name)
        return arrived

    def _has_arrived(self, name: str) -> None:
        self.refused.pop(name, None)
        self.done.add(name)

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
                if not self.stop.is_set():
                    self.display.held(error, pause)
                if self.stop.wait(pause):
                    return 0
        return 0


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
