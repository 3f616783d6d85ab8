"""The process of one destination. It has the clients, moves the bytes, writes the receipts, and dies with its parent.

Started as `python -m episoded.daemon.publisher.child FD PARENT LEVEL STATE_DIR`. A process of its own, because an
upload can hang where nothing in Python can stop it, takes hundreds of megabytes, and reads its settings from the
environment once: SIGKILL is the only deadline that always holds, and a fresh start is always safe.
"""

from __future__ import annotations

import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from episoded.processors.destinations.errors import BlockedError, RefusedError, TransientError

from .. import logs
from ..attempts import as_episoded_error
from ..worker import die_with_parent, volunteer_for_oom
from . import companions
from .jobs import Job, Moving, Outcome, Trouble
from .lookup import Lookup
from .manifest import aim_at
from .places import Places
from .shards import Shards
from .transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import DestinationConfig

#: Seconds between two words about progress.
TELL_EVERY_S: Final = 0.5

log = structlog.get_logger()


class Courier:
    """Does the jobs of one destination, one after the other."""

    def __init__(self, config: DestinationConfig, state_dir: Path, tell: Callable[[Moving], None]) -> None:
        self._places = Places(config, state_dir)
        self._shards = Shards(config)
        self._tell = tell
        self._told = float("-inf")
        self._transfer = Transfer(config, self._places.at, self._shards, self._moved)
        self._lookup = Lookup(config)

    def perform(self, job: Job) -> Outcome:
        """Do one job; what went wrong is part of the answer."""
        try:
            with self._places.held():
                self._shards.count(job.outputs)
                match job.kind:
                    case "look":
                        return Outcome(answers=tuple(self._lookup.look(job.items)))
                    case "probe":
                        return self._probe(job)
                    case "stage":
                        return self._transfer.stage(job.items)
                    case "commit":
                        return self._transfer.commit(job.items, job.datasets)
                    case "shared":
                        return self._transfer.shared(job.datasets)
        except Exception as error:
            self._places.forget()
            self._lookup.forget()
            return Outcome(trouble=trouble_of(error))

    def _probe(self, job: Job) -> Outcome:
        """One place tells whether the destination can be reached; to be made anew, each is looked at."""
        self._places.forget()
        for dataset in job.datasets if job.create else job.datasets[:1]:
            aims = companions.aims_of(dataset, job.config) or [aim_at(job.config, dataset.name)]
            for aim in aims if job.create else aims[:1]:
                self._places.at(aim.place, create=job.create)
        return Outcome()

    def _moved(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(Moving(done, total))


def trouble_of(error: Exception) -> Trouble:
    """What the publisher hears of an error: anything that is none of the four kinds may pass, until it does not."""
    known = as_episoded_error(error)
    if known.code == "internal":
        log.exception("unexpected", exc_info=error)
    words = known.code, known.message, known.hint
    match known:
        case BlockedError():
            return Trouble("blocked", *words)
        case RefusedError():
            return Trouble("refused", *words)
        case TransientError():
            return Trouble("transient", *words, known.after_s, known.offline)
        case _:
            return Trouble("transient", *words)


def main(fd: int, parent: int, level: str, state_dir: Path) -> None:
    """Serve jobs from the connection until it closes or None comes."""
    die_with_parent(parent)
    volunteer_for_oom()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logs.configure(level)
    courier: Courier | None = None
    with Connection(fd) as connection:
        while True:
            try:
                job = connection.recv()
            except EOFError:
                break
            if job is None:
                break
            courier = courier or Courier(job.config, state_dir, connection.send)
            connection.send(courier.perform(job))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
