"""One destination as the service sees it: what it does next, how it fares, when it is tried again."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from .backlog import Backlog
from .jobs import Job, Moving, Outcome, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .jobs import Dataset, JobKind
    from .manifest import Item
    from .settings import DestinationConfig

#: Pauses after failures in a row: quick ones first, then from ten minutes to an hour.
QUICK_S: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)
SLOW_S: Final = (600.0, 1200.0, 2400.0, 3600.0)
LONGEST_S: Final = 3600.0
#: A destination that cannot be reached is looked for at least so often: the network comes back without telling.
OFFLINE_S: Final = 120.0
#: A destination that a person must mend is asked so often whether it was.
PROBE_S: Final = 1800.0
#: A dataset's shared files are compared with what was sent no more often than this.
LOOK_S: Final = 1.0
#: So often in a row, and it is no accident: what nobody can explain, and what somebody else overwrites.
STRIKES: Final = 3
STRIKING: Final = {
    "internal": "see the log of the service, mend the cause",
    "not_proven": "find out who else writes there (one writer for each place)",
    "xet_stale": "the place lost what it held: `episoded verify --remote` says what of it",
}

#: What the plain way to move bytes does not stumble over.
PLAIN_WAY: Final = frozenset({"xet_stale", "xet_cache_full"})

log = structlog.get_logger()


@dataclass
class Lane:
    """The state of one destination. Times are of the injected monotonic clock, `at` and `since` Unix seconds.

    `questions()`: episodes of which somebody wants to know whether they are there. Workers wait for the answer, so they
    come before anything that takes long.
    """

    config: DestinationConfig
    clock: Callable[[], float] = time.monotonic
    chance: random.Random = field(default_factory=random.Random)
    job: Job | None = None
    moving: Moving | None = None
    moving_since: float = 0.0
    blocked: Trouble | None = None
    trouble: Trouble | None = None
    offline_since: float | None = None
    last: dict[str, Any] = field(default_factory=dict)
    stalls: int = 0
    without_xet: bool = False
    flush: bool = False
    questions: Callable[[], tuple[Item, ...]] = tuple
    resumed: bool = False
    not_before: float = 0.0
    _failures: int = 0
    _strikes: Counter[str] = field(default_factory=Counter)
    _looked_at: dict[Path, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.config, self.clock)
        self.datasets: dict[Path, Dataset] = {}

    def next_job(self, unsettled: Callable[[Dataset, DestinationConfig], bool]) -> Job | None:
        """What to do now, if anything. `unsettled`: the shared files of a dataset are not there as they are."""
        if self.job or self.clock() < self.not_before:
            return None
        if self.resumed and self.datasets:
            return self._job("probe", datasets=self.datasets.values(), create=True)
        if self.blocked:
            mendable = self.blocked.code not in STRIKING
            return self._job("probe", datasets=self.datasets.values()) if mendable and self.datasets else None
        if items := self.questions():
            return self._job("look", items)
        if batch := self.backlog.due(flush=self.flush):
            datasets = {entry.dataset.output: entry.dataset for entry in batch}
            items = tuple(entry.item for entry in batch)
            return self._job("commit", items, datasets.values(), sum(e.staged.bytes for e in batch if e.staged))
        if batch := self.backlog.unstaged():
            return self._job("stage", tuple(entry.item for entry in batch))
        return self._shared_job(unsettled)

    def begin(self, job: Job) -> None:
        """The job is in the hands of the process."""
        self.job, self.moving, self.moving_since = job, None, self.clock()
        self.resumed = self.resumed and not job.create

    def ended(self, outcome: Outcome) -> None:
        """Hear how the job ended, and decide when the next one may begin."""
        job, self.job, self.moving = self.job, None, None
        self.backlog.staged(outcome.staged)
        told = {*outcome.proven, *outcome.blocked, *(one.control for one in outcome.staged)}
        items = {item.control.path for item in job.items} if job and not outcome.trouble else set()
        self.backlog.over(
            {*outcome.proven, *outcome.blocked} | (items - told)
        )  # of the untold the next scan knows more
        if outcome.trouble:
            self._failed(outcome.trouble)
            return
        if outcome.commit:
            self.last = {"commit": outcome.commit, "place": outcome.place, "at": time.time()}
        if self.blocked and job and job.kind == "probe":
            log.info("destination_resumed", destination=self.config.name)
        self.blocked = self.trouble = self.offline_since = None
        self._failures = self.stalls = 0
        self.not_before = 0.0
        if job and job.kind in ("commit", "shared"):
            self._strikes.clear()

    def died(self, how: str, *, stalled: bool) -> None:
        """Its process is gone; what it did is found out by the next one."""
        self.job = self.moving = None
        self.stalls += stalled
        if self.stalls >= 2:
            self.without_xet = True  # transfers that stalled in the chunked protocol were seen to pass in the plain one
        self._failed(Trouble("transient", "stalled" if stalled else "process_died", how))

    def resume(self) -> None:
        """A person has mended it, or wants it tried now; what is gone there may be made anew."""
        self.blocked, self.resumed = None, True
        self.not_before = 0.0
        self._failures = 0
        self._strikes.clear()

    def look_again_s(self) -> float:
        """Seconds until time alone makes something due."""
        wait = max(0.0, self.not_before - self.clock())
        if self.blocked or not len(self.backlog):
            return wait or float("inf")
        return wait or self.backlog.due_in_s() or 1.0

    def _failed(self, trouble: Trouble) -> None:
        self._failures += 1
        self.trouble = trouble
        self._strikes[trouble.code] += 1
        if trouble.code in PLAIN_WAY:
            self.without_xet = True
        if trouble.code in STRIKING and self._strikes[trouble.code] >= STRIKES:
            hint = f"{STRIKING[trouble.code]}, then `episoded resume {self.config.name}`"
            trouble = Trouble("blocked", trouble.code, trouble.message, hint)
        words = {"destination": self.config.name, "code": trouble.code, "message": trouble.message}
        if trouble.kind != "transient":
            if "episoded resume" not in trouble.hint:
                trouble = replace(trouble, hint=f"{trouble.hint}, then `episoded resume {self.config.name}`")
            if self.blocked is None:
                log.error("destination_blocked", hint=trouble.hint, **words)
            self.blocked, self.trouble, self.offline_since = trouble, trouble, None
            self.not_before = self.clock() + PROBE_S
            return
        pause = self._pause_s(trouble)
        self.not_before = self.clock() + pause
        say = log.debug if trouble.offline and self.offline_since else log.warning  # once for each time that it is gone
        say("destination_troubled", again_s=round(pause), **words)
        if trouble.offline:
            self.offline_since = self.offline_since or time.time()

    def _pause_s(self, trouble: Trouble) -> float:
        """As long as the server asked; else longer with each failure. A little by chance: not all come back at once."""
        if trouble.after_s is not None:
            pause = trouble.after_s
        else:
            pauses = QUICK_S + SLOW_S
            pause = pauses[min(self._failures, len(pauses)) - 1]
            pause = min(pause, OFFLINE_S) if trouble.offline else pause
        return min(pause * self.chance.uniform(1.0, 1.2), LONGEST_S)

    def _shared_job(self, unsettled: Callable[[Dataset, DestinationConfig], bool]) -> Job | None:
        """Datasets that have nothing waiting, looked at in turn, each now and then."""
        waiting = self.backlog.datasets()
        for output, dataset in self.datasets.items():
            looked = self._looked_at.get(output, float("-inf"))
            if output in waiting or self.clock() - looked < max(self.config.interval_s, LOOK_S):
                continue
            self._looked_at[output] = self.clock()
            if unsettled(dataset, self.config):
                return self._job("shared", datasets=[dataset])
        return None

    def _job(
        self,
        kind: JobKind,
        items: tuple[Item, ...] = (),
        datasets: Iterable[Dataset] = (),
        size: int = 0,
        *,
        create: bool = False,
    ) -> Job:
        return Job(kind, self.config, items, tuple(datasets), tuple(self.datasets), size, create)
