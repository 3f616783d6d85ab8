"""What waits for one destination, and when a batch of it is due. Decides; starts nothing, reads nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from .jobs import Dataset, Staged
    from .manifest import Item
    from .settings import DestinationConfig

#: Episodes whose bytes are moved in one go, before it is asked again whether a batch is due.
STAGED_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """An episode that waits: since when (monotonic clock, seconds), and what staging it told."""

    item: Item
    dataset: Dataset
    since: float
    staged: Staged | None = None


class Backlog:
    """The episodes that are ready and not yet proven to be at one destination, in the order in which they came."""

    def __init__(self, config: DestinationConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._entries: dict[Path, Entry] = {}
        self._over: set[Path] = set()

    def __len__(self) -> int:
        return len(self._entries.keys() - self._over)

    @property
    def bytes(self) -> int:
        """How much of it is known to be on its way."""
        return sum(entry.staged.bytes for entry in self._waiting() if entry.staged)

    def take_in(self, waiting: Mapping[Path, tuple[Item, Dataset]]) -> None:
        """A fresh scan. Who waited before keeps the time since when."""
        now = self._clock()
        self._over = set()
        known = {path: entry for path, entry in self._entries.items() if path in waiting}
        new = {path: Entry(*pair, now) for path, pair in waiting.items() if path not in known}
        self._entries = known | new

    def staged(self, told: Iterable[Staged]) -> None:
        """The bytes of these are there."""
        for one in told:
            if one.control in self._entries:
                self._entries[one.control] = replace(self._entries[one.control], staged=one)

    def over(self, paths: Iterable[Path]) -> None:
        """These have a receipt, or a reason why they get none: what the last scan said of them no longer holds."""
        self._over.update(paths)

    def unstaged(self) -> tuple[Entry, ...]:
        """Who is next to have its bytes moved."""
        return tuple(entry for entry in self._waiting() if entry.staged is None)[:STAGED_AT_ONCE]

    def due(self, *, flush: bool = False) -> tuple[Entry, ...]:
        """The next batch, whole episodes of one place; empty while none is due."""
        places: dict[str, list[Entry]] = {}
        for entry in self._waiting():
            if entry.staged:
                places.setdefault(entry.staged.place, []).append(entry)
        for entries in places.values():
            full = self._fitting(entries)
            old = self._clock() - entries[0].since >= self._config.interval_s
            if flush or old or len(full) < len(entries) or self._is_full(entries):
                return full
        return ()

    def due_in_s(self) -> float:
        """Seconds until the oldest one has waited long enough."""
        oldest = min((entry.since for entry in self._waiting()), default=math.inf)
        return max(0.0, oldest + self._config.interval_s - self._clock())

    def datasets(self) -> dict[Path, Dataset]:
        """The datasets that have something waiting, by their output."""
        return {entry.dataset.output: entry.dataset for entry in self._waiting()}

    def _waiting(self) -> list[Entry]:
        return [entry for path, entry in self._entries.items() if path not in self._over]

    def _fitting(self, entries: list[Entry]) -> tuple[Entry, ...]:
        """As many as one commit may hold, at least one: an episode is never divided."""
        files = size = 0
        for number, entry in enumerate(entries):
            assert entry.staged is not None
            files, size = files + entry.staged.files, size + entry.staged.bytes
            if number and (files > self._config.max_files or size > self._config.max_bytes):
                return tuple(entries[:number])
        return tuple(entries)

    def _is_full(self, entries: list[Entry]) -> bool:
        staged = [entry.staged for entry in entries if entry.staged]
        files, size = sum(one.files for one in staged), sum(one.bytes for one in staged)
        return files >= self._config.max_files or size >= self._config.max_bytes
