"""Publish now, in this process: the batches, locks and receipts of the service, without waiting for their time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from episoded.processors.destinations import environment
from episoded.processors.destinations.errors import TransientError

from . import companions, desk, readback
from .backlog import Backlog
from .manifest import item_of
from .places import Places
from .publisher import dataset_of
from .shards import Shards
from .transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ..scan import DatasetView, DropView, EpisodeView
    from .backlog import Entry
    from .jobs import Dataset, Outcome
    from .manifest import Item
    from .settings import DestinationConfig

#: Seconds before what may pass is tried again; after the last, the command gives up, and may be repeated.
PAUSES_S: Final = (2.0, 5.0, 10.0)


@dataclass
class Listener:
    """Who hears how it goes: bytes of the part in hand, and each part that is done."""

    moved: Callable[[int, int], None] = lambda *_: None
    done: Callable[[Outcome], None] = lambda _: None
    again: Callable[[TransientError, float], None] = lambda *_: None


@dataclass
class Result:
    """Control directories: with a receipt now, and blocked."""

    proven: list[Path] = field(default_factory=list)
    blocked: list[Path] = field(default_factory=list)


class Sender:
    """One destination, used from the command line."""

    def __init__(
        self, config: DestinationConfig, state_dir: Path, listener: Listener, *, reading: bool = False
    ) -> None:
        os.environ.update(environment(config.kind, config.params, desk.folder(state_dir) / config.name))
        self._config, self._listener = config, listener
        self._places = Places(config, state_dir, reading=reading)
        self._shards = Shards(config)
        self.transfer = Transfer(config, self._places.at, self._shards, listener.moved)

    def reach(self, place: str) -> None:
        """Be let in. Raises what a destination raises."""
        with self._places.held():
            self._places.at(place)

    def was_reached(self, place: str) -> bool:
        """Whether anything was ever written there from this machine: what is gone then was deleted."""
        return self._places.was_used(place)

    def read_back(self, items: Sequence[Item]) -> dict[Path, dict[str, str]]:
        """What is wrong with episodes that have a receipt; see `readback.episodes`."""
        return readback.episodes(items, self._config, self._places.at)

    def read_back_shared(self, dataset: Dataset) -> dict[str, str] | None:
        """What is wrong with what the episodes of a dataset share; see `readback.companions_of`."""
        return readback.companions_of(dataset, self._config, self._places.at)

    def send(self, episodes: list[tuple[Item, Dataset]]) -> Result:
        """Everything, batch by batch. Raises what a destination raises; what was done by then is done."""
        backlog, result = Backlog(self._config, time.monotonic), Result()
        backlog.take_in({item.control.path: (item, dataset) for item, dataset in episodes})
        self._shards.count({dataset.output for _, dataset in episodes})
        while len(backlog):
            batch = backlog.due(flush=True)
            entries = batch or backlog.unstaged()
            items = [entry.item for entry in entries]
            outcome = self._tried(partial(self._step, entries, commit=bool(batch)))
            backlog.staged(outcome.staged)
            over = {*outcome.proven, *outcome.blocked}
            told = over | {one.control for one in outcome.staged}
            backlog.over(over | ({item.control.path for item in items} - told))
            result.proven += outcome.proven
            result.blocked += outcome.blocked
        return result

    def _step(self, entries: tuple[Entry, ...], *, commit: bool) -> Outcome:
        items = [entry.item for entry in entries]
        if not commit:
            return self.transfer.stage(items)
        return self.transfer.commit(items, list({entry.dataset.output: entry.dataset for entry in entries}.values()))

    def settle(self, datasets: list[Dataset]) -> None:
        """Shared files of datasets whose episodes are all there."""
        late = [dataset for dataset in datasets if not companions.is_settled(dataset, self._config)]
        if late:
            self._tried(partial(self.transfer.shared, late))

    def _tried(self, step: Callable[[], Outcome]) -> Outcome:
        for pause in (*PAUSES_S, None):
            try:
                with self._places.held():
                    outcome = step()
            except TransientError as error:
                self._places.forget()
                if pause is None:
                    raise
                wait = max(pause, min(error.after_s or 0.0, 60.0))
                self._listener.again(error, wait)
                time.sleep(wait)
            else:
                self._listener.done(outcome)
                return outcome
        raise AssertionError("the last try raises")


def to_send(view: DropView, destination: str) -> Iterator[tuple[Item, Dataset]]:
    """The ready episodes of a place that have no receipt of the destination."""
    for dataset, episode in _ready(view):
        if destination not in episode.markers.receipts:
            yield item_of(dataset, episode), dataset_of(dataset)


def sent(view: DropView, destination: str) -> Iterator[Item]:
    """The episodes of a place that have a receipt of the destination."""
    for dataset, episode in _ready(view):
        if destination in episode.markers.receipts:
            yield item_of(dataset, episode)


def _ready(view: DropView) -> Iterator[tuple[DatasetView, EpisodeView]]:
    for dataset in view.datasets:
        for episode in dataset.episodes:
            if episode.markers.ready:
                yield dataset, episode
