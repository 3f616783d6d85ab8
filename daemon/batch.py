"""Work on what lies at a place, once and now: the same chain, claims and workers as the service, without a service.

A plan is made from one look; every episode in it gets one attempt. What arrives meanwhile is for the next call.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final, Protocol

from . import finish
from .control import read_json
from .convert.place import is_conversion
from .errors import from_os_error
from .gpus import Gpus, Room
from .guard import Guard
from .jobs import Job
from .state import State
from .supervisor import Supervisor
from .work import prepare_output, work_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .config import Config, Pipeline
    from .jobs import Kind
    from .publisher.jobs import Answer
    from .scan import DatasetView, DropView, EpisodeView
    from .supervisor import Ending, Slot

#: How often the listener is told how things are, in seconds.
TICK_S: Final = 0.2
_GUARD_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Left:
    """What is not worked on, and why. `blocks`: it keeps the whole from being ready."""

    dataset: DatasetView
    episode: str | None
    reason: str
    hint: str = ""
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done at a place: `jobs` in order, and what is `left` with the reason. `ready`: done before."""

    jobs: tuple[Job, ...]
    left: tuple[Left, ...]
    ready: int

    def limited(self, count: int) -> Plan:
        """The same with the first `count` episodes only; -1: all. Tidying up is not counted."""
        if count < 0:
            return self
        taken = [job for job in self.jobs if job.kind == "work"][:count]
        return replace(self, jobs=tuple(job for job in self.jobs if job.kind != "work" or job in taken))


class Listener(Protocol):
    """Who hears how it goes."""

    def begun(self, job: Job) -> None:
        """A worker has it now."""

    def ended(self, ending: Ending) -> None:
        """It is over: ready, failed, waiting, released, ..."""

    def held(self, reason: str) -> None:
        """Nothing is begun at the moment, and why; "" when that is over."""

    def stopping(self, *, now: bool) -> None:
        """The workers were asked to stop: at their next unit, or `now`."""

    def tick(self, slots: list[Slot]) -> None:
        """Several times a second: the slots with their last reports."""


def plan(view: DropView, config: Config) -> Plan:
    """What can be done at a place. Reads names; the datasets take turns, as they do in the service."""
    lanes: list[list[Job]] = []
    left: list[Left] = []
    ready = 0
    for dataset in view.datasets:
        lane: list[Job] = []
        left += [*_untouchable(dataset), *_ready_without(dataset, config.pipelines[dataset.drop.pipeline])]
        for episode in () if is_conversion(dataset.root) else dataset.episodes:
            if reason := _why_not(dataset, episode):
                left.append(reason)
            elif episode.markers.ready:
                ready += 1
                lane += [_job("tidy", dataset, episode, config)] if _is_untidy(episode) else []
            else:
                lane.append(_job("work", dataset, episode, config))
        lanes.append(lane)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lanes))
    return Plan(tuple(job for job in turns if job), tuple(left), ready)


def recognitions(view: DropView, config: Config, found: Mapping[Path, tuple[Answer, ...]]) -> tuple[Job, ...]:
    """Jobs for what destinations have already: it is compared with what lies here, and not made if it is the same."""
    episodes = ((dataset, episode) for dataset in view.datasets for episode in dataset.episodes)
    return tuple(
        replace(_job("recognise", dataset, episode, config), found=found[episode.control.path])
        for dataset, episode in episodes
        if episode.control.path in found
    )


def mend(view: DropView, config: Config) -> None:
    """Bring shared files of finished datasets up to date, where a recorder wrote them again; no change otherwise."""
    from .worker import StopRequests, perform

    for dataset in view.datasets:
        if dataset.episodes and dataset.finished:
            perform(_job("mend", dataset, dataset.episodes[0], config), StopRequests())


def export(view: DropView, config: Config) -> Iterator[tuple[bool, str]]:
    """Bring exports up to date where the pipeline has a `lerobot_version`: whether it went well, and words for it."""
    from .convert.export import Exports
    from .worker import StopRequests, perform

    exports = Exports(config, time.monotonic)
    for dataset in view.datasets:
        if exports.wants(dataset):
            ended, words = perform(_job("export", dataset, dataset.episodes[0], config), StopRequests())
            yield ended == "exported", words


def _job(kind: Kind, dataset: DatasetView, episode: EpisodeView, config: Config) -> Job:
    pipeline = config.pipelines[dataset.drop.pipeline]
    return Job(kind, work_for(dataset, episode.id, pipeline, config.workers.policy, lapsed=episode.lapsed))


def _is_untidy(episode: EpisodeView) -> bool:
    """Whether something that could go is still there. What waits for receipts is left to the service."""
    return not (episode.markers.cleaned or finish.waits_for_receipts(episode.control))


def _untouchable(dataset: DatasetView) -> Iterator[Left]:
    if is_conversion(dataset.root):
        why = "was converted from another dataset, and is kept up to date with that one"
        yield Left(dataset, None, why, "process the dataset that it was converted from", blocks=False)
    if refusal := dataset.listing.refusal:
        yield Left(dataset, None, refusal.message, refusal.hint)
    for name, reason in dataset.listing.orphans:
        yield Left(dataset, name, reason, "nothing touches these frames", blocks=False)


def _ready_without(dataset: DatasetView, pipeline: Pipeline) -> Iterator[Left]:
    """What another pipeline made ready, without a stage of this one: ready is ready, but not what was asked for."""
    found: Counter[tuple[str, str]] = Counter()
    for episode in dataset.episodes:
        if episode.markers.ready and not set(pipeline.stages) <= episode.markers.stages_done:
            ready = read_json(episode.control.path / "ready") or {}
            lacking = [stage for stage in pipeline.stages if stage not in ready.get("stages", ())]
            if lacking and ready.get("pipeline", pipeline.name) != pipeline.name:
                found[ready["pipeline"], lacking[0]] += 1
    for (other, stage), count in found.items():
        why = f"{count} of {len(dataset.episodes)} episodes are ready by the pipeline {other!r}, without {stage}"
        hint = f"`episoded retry {dataset.root} --from {stage} --pipeline {pipeline.name}`, then the same command"
        yield Left(dataset, None, why, hint, blocks=False)


def _why_not(dataset: DatasetView, episode: EpisodeView) -> Left | None:
    """Why this episode is not ours to work on, or None."""
    if episode.state is State.CLAIMED:
        owner = read_json(episode.control.claim(episode.markers.generation)) or {}
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
        return Left(dataset, episode.id, f"is being worked on by {who}", "`episoded wait` blocks until it is done")
    if episode.state is State.FAILED:
        record = episode.control.failure(episode.markers) or {}
        reason = f"has failed before: {record.get('message', 'reason unknown')} [{record.get('code', 'unknown')}]"
        return Left(dataset, episode.id, reason, f"{record.get('hint') or 'mend it'}; `episoded retry` clears the way")
    return None


@dataclass
class Batch:
    """Runs jobs on worker processes of its own until all have ended.

    `stops` may be raised from a signal handler: 1 = stop at the next unit, 2 = stop now. `objection`: why the guard
    ended it early, or "".
    """

    config: Config
    listener: Listener
    stops: int = 0
    objection: str = ""
    endings: list[Ending] = field(default_factory=list)
    _on_gpu: dict[Path, bool] = field(default_factory=dict)

    def run(self, jobs: list[Job] | tuple[Job, ...]) -> None:
        """Do the jobs. What was not begun when it was stopped, or when the guard objected, is simply not done."""
        self._queue = deque(jobs)
        self._guard, self._objection, self._asked_at = Guard(self.config.guard), "", float("-inf")
        used = {job.work.pipeline.name: job.work.pipeline for job in jobs}
        supervisor = Supervisor(self.config, gpus=Gpus.of(self.config.workers, used.values()))
        heeded = 0
        try:
            while True:
                self._hear(supervisor)
                self._assign(supervisor)
                if not supervisor.busy:
                    break
                self.listener.tick(supervisor.slots)
                wait(supervisor.connections, TICK_S)
                if self.stops > heeded:  # one at a time: two signals sent at once would reach a worker as one
                    heeded += 1
                    supervisor.drain()
                    self.listener.stopping(now=heeded > 1)
            self.objection = self._objection if self._queue and not self.stops else ""
        finally:
            supervisor.close()

    def _hear(self, supervisor: Supervisor) -> None:
        for ending in supervisor.poll():
            if ending.ended == "handed_over" and supervisor.gpus.ids:
                self._on_gpu[ending.job.work.control.path] = True  # it goes on as soon as one is free
                self._queue.appendleft(ending.job)
                continue
            self.endings.append(ending)
            self.listener.ended(ending)

    def _assign(self, supervisor: Supervisor) -> None:
        gpus = supervisor.gpus
        cpu_jobs = sum(not job.on_gpu for job in supervisor.jobs)
        room = Room(supervisor.cpu_slots - cpu_jobs, gpus.free(supervisor.jobs))
        chosen = [(job, gpu) for job in self._queue if room.takes(gpu=(gpu := self._wants_gpu(job, gpus)))]
        if not chosen or self.stops or self._guard_objects(chosen[0][0]):
            return
        threads = max(1, len(os.sched_getaffinity(0)) // (len(supervisor.busy) + len(chosen)))
        shares = iter(room.shares())
        for job, gpu in chosen:
            self._queue.remove(job)
            devices = next(shares) if gpu else gpus.without(job.work.pipeline)
            supervisor.assign(replace(job, work=replace(job.work, threads=threads, devices=devices)))
            self.listener.begun(job)

    def _wants_gpu(self, job: Job, gpus: Gpus) -> bool:
        """Whether the next stage of a job needs a GPU; asked once of the markers, which know what was done."""
        if job.kind != "work" or not gpus.ids:
            return False
        control = job.work.control
        if control.path not in self._on_gpu:
            self._on_gpu[control.path] = gpus.wanted_by(job.work.pipeline, control.markers().stages_done)
        return self._on_gpu[control.path]

    def _guard_objects(self, job: Job) -> bool:
        """Whether disk or memory forbid to begin more; asked every few seconds."""
        if time.monotonic() - self._asked_at >= _GUARD_EVERY_S:
            self._asked_at = time.monotonic()
            root = job.work.output if job.work.output.exists() else job.work.root
            before, self._objection = self._objection, self._guard.objection(root) or ""
            if before != self._objection:
                self.listener.held(self._objection)
        return bool(self._objection)


def prepare(view: DropView) -> None:
    """Make the output folders of what can be processed. Raises EpisodedError where that is not allowed."""
    for dataset in view.datasets:
        if dataset.listing.refusal:
            continue
        try:
            if dataset.drop.output and dataset.output != dataset.root:
                dataset.drop.output.mkdir(parents=True, exist_ok=True)
            prepare_output(dataset)
        except OSError as error:
            raise from_os_error(error) from error
