"""The clients of a destination's places, and the locks that make one writer of each.

Two committers of one repo lose each other's updates: of 16 commits that a server had answered with 200, 8 were not in
its head. So whoever writes to a place holds its locks, the service as well as `episoded publish`: one in the state
directory, one of this machine, and where the place itself has such a thing, one there. Writers on machines that no lock
joins are told apart by the proof alone: what one has undone, the other does not find, and sends again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from episoded.processors.destinations import open_destination
from episoded.processors.destinations.base import Exclusive
from episoded.processors.destinations.errors import TransientError

from .. import locks
from ..errors import EpisodedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from episoded.processors.destinations.base import Destination

    from .settings import DestinationConfig

#: Seconds after which a place that somebody else writes to is tried again.
BUSY_S: Final = 5.0


class Places:
    """Opens each place once, and holds its locks while a job lasts; none who is only `reading`."""

    def __init__(self, config: DestinationConfig, state_dir: Path, *, reading: bool = False) -> None:
        self._config = config
        self._reading = reading
        self._folder = state_dir / "destinations"
        self._clients: dict[str, Destination] = {}
        #: Place -> its lock file, open, as long as this job lasts.
        self._locks: dict[str, int] = {}
        self._kept: set[str] = set()
        self._held = ExitStack()

    def at(self, place: str, *, create: bool = False) -> Destination:
        """The client of a place, reached, and its locks held as long as the job lasts.

        A place that was never used is made; one that was and is gone only where a person said so (`create`).
        """
        if not self._reading and place not in self._locks:
            self._lock(place)
        if place not in self._clients:
            client = open_destination(self._config.kind, self._config.params, place)
            client.probe(create=not self._reading and (create or not self._is_known(place)))
            self._note_known(place)
            self._clients[place] = client
        if not self._reading and place not in self._kept:
            self._keep(place, self._clients[place])
        return self._clients[place]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let go of every lock at the end."""
        try:
            yield
        finally:
            self._locks.clear()
            self._kept.clear()
            self._held.close()

    def forget(self) -> None:
        """Close the clients: the next job opens them anew."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def was_used(self, place: str) -> bool:
        """Whether the place was ever opened for writing with this state directory. Takes no lock."""
        try:
            return self._lock_file(place).stat().st_size > 0
        except FileNotFoundError:
            return False

    def _lock_file(self, place: str) -> Path:
        return self._folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"

    def _is_known(self, place: str) -> bool:
        return os.fstat(self._locks[place]).st_size > 0

    def _note_known(self, place: str) -> None:
        """In the lock file: it is there as long as the service's state is."""
        if not self._reading and not self._is_known(place):
            os.write(self._locks[place], f"{place}\n".encode())

    def _lock(self, place: str) -> None:
        """Among those of this state directory, then of this machine."""
        fd = self._opened(place)
        self._held.callback(os.close, fd)
        endpoint = getattr(self._config.params, "endpoint", "")  # two S3 servers may have buckets of one name
        path = os.path.realpath(place) if self._config.kind == "folder" else place
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = locks.first_on_this_machine(f"{self._config.kind} {endpoint} {path}")
        except BlockingIOError:
            raise _busy(place) from None
        if mine:
            self._held.callback(mine.close)
        self._locks[place] = fd

    def _keep(self, place: str, client: Destination) -> None:
        """Have the place itself keep the writers of other machines away."""
        if isinstance(client, Exclusive):
            if not client.hold():
                raise _busy(place)
            self._held.callback(client.release)
        self._kept.add(place)

    def _opened(self, place: str) -> int:
        path = self._lock_file(place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EpisodedError(
                "state_dir_unusable",
                f"{path}: {error.strerror}: whether somebody else writes to {place} cannot be known",
                "run this as the user of the service",
            ) from error


def _busy(place: str) -> TransientError:
    return TransientError("busy", f"another process is publishing to {place}", "it is tried again", after_s=BUSY_S)
