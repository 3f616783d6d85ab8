"""From what a scan saw to what is done next: which uploads are complete, and which episode gets the next free slot."""

from __future__ import annotations

import collections
import math
import os
import time
from typing import TYPE_CHECKING, Literal

import structlog

from . import finish
from .attempts import as_episoded_error
from .complete import UploadTracker
from .convert.export import Exports
from .errors import EpisodedError
from .gpus import NO_GPU, NONE, Gpus, Room
from .guard import Guard
from .jobs import Job
from .state import State
from .stumbles import Stumbles
from .work import prepare_output, work_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .config import Config
    from .jobs import Kind
    from .publisher.inquiry import Inquiry
    from .scan import DatasetView, DropView, EpisodeView
    from .supervisor import Ending

    Choice = tuple[Kind, DatasetView, EpisodeView]

log = structlog.get_logger()


class Dispatcher:
    """Decides; starts nothing itself. Remembers only what the markers cannot say.

    `held`: control directory -> why its episode is not begun. `problems`: output root -> why nothing can be written
    there. `paused`: output root -> what the guard objects to. `alive` is called before each look at an upload: at
    thousands of frames on a cold disk it takes seconds, for hundreds of episodes longer than any watchdog waits.
    """

    def __init__(
        self,
        config: Config,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.monotonic,
        alive: Callable[[], None] = lambda: None,
        inquiry: Inquiry | None = None,
    ) -> None:
        self._config = config
        self._alive = alive
        self._inquiry = inquiry
        self._guard = guard or Guard(config.guard)
        self._clock = clock
        self._tracker = UploadTracker(clock)
        self._datasets: list[DatasetView] = []
        self._ended: set[Path] = set()
        self._stumbles = Stumbles(clock)
        self._turns: dict[Path, int] = {}
        self._tried: set[Path] = set()
        self._handed_over: set[Path] = set()
        self._grace: dict[Path, float] = {}
        self._mended: dict[Path, tuple[tuple[int, int, int], ...]] = {}
        self._judged_again: dict[Path, float] = {}
        self.exports = Exports(config, clock)
        self.held: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.paused: dict[str, str] = {}

    def take_in(self, views: list[DropView]) -> bool:
        """A fresh scan: mark complete uploads pending. True when that changed anything, so that a scan is due."""
        self._datasets = [dataset for view in views for dataset in view.datasets]
        self._ended, self.held, self._judged_again = set(), {}, {}
        self._forget_the_gone()
        before, self.problems = self.problems, {}
        changed = [self._submit_complete(dataset) for dataset in self._datasets]
        for root, message in self.problems.items():
            if before.get(root) != message:
                log.error("folder_unusable", root=root, message=message)
        self.paused = self._objections()
        return any(changed)

    def ended(self, ending: Ending) -> None:
        """A job ended: what the last scan said of its episode no longer holds."""
        path = ending.job.work.control.path
        if ending.job.kind == "export":
            self.exports.ended(ending)
            return
        self._ended.add(path)
        if ending.job.kind == "recognise" and self._inquiry and ending.ended != "found":
            self._inquiry.other(path)
        (self._handed_over.add if ending.ended == "handed_over" else self._handed_over.discard)(path)
        self._stumbles.ended(ending)

    def look_again_s(self) -> float:
        """Seconds until time alone changes something: an episode has rested, an upload been quiet, for long enough."""
        now = self._clock()
        times = (*self._stumbles.ends(), *self._judged_again.values(), *self._grace.values(), *self.exports.due())
        return min((at - now for at in times if at > now), default=math.inf)

    def next_jobs(self, busy: list[Job], slots: int, gpus: Gpus = NONE) -> list[Job]:
        """Jobs for the free ones of `slots` workers, in turn from each dataset: a large one must not starve others.

        Episodes whose next stage needs a GPU get free ones of `gpus`; those workers come on top of `slots`.
        """
        skip = self._ended | self._stumbles.resting() | {job.work.control.path for job in busy}
        room = Room(slots - sum(not job.on_gpu for job in busy), gpus.free(busy))
        chosen = [(choice, self._wants_gpu(choice, gpus)) for choice in self._queue(skip, room, gpus)]
        threads = max(1, len(os.sched_getaffinity(0)) // max(1, len(busy) + len(chosen)))
        shares = iter(room.shares())
        return [self._job(choice, threads, next(shares) if gpu else None, gpus) for choice, gpu in chosen]

    def _wants_gpu(self, choice: Choice, gpus: Gpus) -> bool:
        kind, dataset, episode = choice
        pipeline = self._config.pipelines[dataset.drop.pipeline]
        if kind != "work":
            return False
        # A stage that passes over an episode leaves no checkpoint: only who came to the next one knows that it is next.
        return episode.control.path in self._handed_over or gpus.wanted_by(pipeline, episode.markers.stages_done)

    def _job(self, choice: Choice, threads: int, devices: tuple[str, ...] | None, gpus: Gpus) -> Job:
        kind, dataset, episode = choice
        pipeline = self._config.pipelines[dataset.drop.pipeline]
        devices = gpus.without(pipeline) if devices is None else devices
        policy = self._config.workers.policy
        found = self._inquiry.found(episode.control.path) if self._inquiry and kind == "recognise" else ()
        return Job(kind, work_for(dataset, episode.id, pipeline, policy, threads, episode.lapsed, devices), found)

    def _submit_complete(self, dataset: DatasetView) -> bool:
        arriving = [episode for episode in dataset.episodes if episode.state is State.ARRIVING]
        complete = [
            episode
            for episode in arriving
            if self._is_complete(dataset, episode, marked=dataset.marked or episode.marked)
        ]
        try:
            for episode in complete:
                prepare_output(dataset)
                episode.control.submit()
        except (OSError, EpisodedError) as error:
            self.problems[str(dataset.output)] = as_episoded_error(error).message
            return False
        return bool(complete)

    def _is_complete(self, dataset: DatasetView, episode: EpisodeView, *, marked: bool) -> bool:
        if dataset.drop.complete == "marker" and not marked:
            return False  # spares looking at every file of a recording in progress
        key = episode.control.path
        self._alive()
        try:
            upload = dataset.format.upload(dataset.root, episode.id)
        except (OSError, EpisodedError) as error:
            self.held[str(key)] = str(error)
            return False
        verdict = self._tracker.judge(key, upload, dataset.drop, marked=marked)
        if not verdict.complete:
            self.held[str(key)] = verdict.reason
            self._judged_again[key] = self._clock() + verdict.again_s
        return verdict.complete

    def _forget_the_gone(self) -> None:
        """Keep no memory of episodes that are not there any more, or past the point where it mattered."""
        episodes = {episode.control.path: episode for dataset in self._datasets for episode in dataset.episodes}
        self._tracker.keep({path for path, episode in episodes.items() if episode.markers.generation == 0})
        self.held |= self._stumbles.keep(episodes)
        self._tried &= episodes.keys()
        self._handed_over &= episodes.keys()
        self._grace = {path: until for path, until in self._grace.items() if path in episodes}
        outputs = {dataset.output for dataset in self._datasets}
        self._turns = {output: turn for output, turn in self._turns.items() if output in outputs}
        self._mended = {output: signature for output, signature in self._mended.items() if output in outputs}

    def _objections(self) -> dict[str, str]:
        """Output root -> why nothing may be claimed there now; each filesystem is asked once."""
        answers: dict[int, str | None] = {}
        found = {}
        for dataset in self._datasets:
            root = dataset.output if dataset.output.exists() else dataset.root
            try:
                device = root.stat().st_dev
                if device not in answers:
                    answers[device] = self._guard.objection(root)
            except OSError:
                continue  # it went away since the scan
            if objection := answers[device]:
                found[str(dataset.output)] = objection
        return found

    def _queue(self, skip: set[Path], room: Room, gpus: Gpus) -> Iterator[Choice]:
        """What there is room for, which it takes."""
        yield from self._in_turn(skip, room, gpus)
        for dataset in self._datasets:
            for episode in dataset.episodes:
                if room.has(gpu=False) and episode.control.path not in skip and self._is_untidy(dataset, episode):
                    room.take(gpu=False)
                    yield "tidy", dataset, episode
            if room.has(gpu=False) and self._needs_mending(dataset):
                room.take(gpu=False)
                yield "mend", dataset, dataset.episodes[0]
            if room.has(gpu=False) and str(dataset.output) not in self.paused and self.exports.wants(dataset, skip):
                room.take(gpu=False)
                yield "export", dataset, dataset.episodes[0]

    def _in_turn(self, skip: set[Path], room: Room, gpus: Gpus) -> Iterator[Choice]:
        """One episode of each dataset after the other, beginning with the one that was served longest ago.

        Lazily: to look whether an upload is whole costs milliseconds, and is done only for what a free slot asks for.
        """
        open_datasets = [dataset for dataset in self._datasets if str(dataset.output) not in self.paused]
        open_datasets.sort(key=lambda dataset: self._turns.get(dataset.output, 0))
        lanes = collections.deque((dataset, self._pending(dataset, skip, room, gpus)) for dataset in open_datasets)
        while lanes:
            dataset, lane = lanes.popleft()
            if choice := next(lane, None):
                self._turns[dataset.output] = max(self._turns.values(), default=0) + 1
                lanes.append((dataset, lane))
                yield choice

    def _pending(self, dataset: DatasetView, skip: set[Path], room: Room, gpus: Gpus) -> Iterator[Choice]:
        for episode in dataset.episodes:
            if episode.state is not State.PENDING or episode.control.path in skip:
                continue
            gpu = self._wants_gpu(("work", dataset, episode), gpus)
            if gpu and not gpus.ids:
                self.held[str(episode.control.path)] = NO_GPU
            if not (room.has(gpu=gpu) or room.has(gpu=False)):
                continue
            kind = self._kind_of(episode)
            gpu = gpu and kind == "work"
            if kind is None or not room.has(gpu=gpu):
                continue
            # A pending marker that came with the upload may be ahead of the files; later generations were past that.
            if episode.markers.generation == 0 and not self._is_complete(dataset, episode, marked=True):
                continue
            room.take(gpu=gpu)
            yield kind, dataset, episode

    def _kind_of(self, episode: EpisodeView) -> Literal["work", "recognise"] | None:
        """Whether a pending episode is to be worked on or was made elsewhere; None: that is being asked."""
        path = episode.control.path
        if self._inquiry is None:
            return "work"
        if name := self._inquiry.waits(path):
            self.held[str(path)] = f"{name} is asked whether it has it already"
            return None
        return "recognise" if self._inquiry.found(path) else "work"

    def _is_untidy(self, dataset: DatasetView, episode: EpisodeView) -> bool:
        """A finisher was killed between `ready` and `cleaned`, or waited for receipts that are all there now.

        Tried once: a damaged output does not mend itself.
        """
        path = episode.control.path
        if not episode.markers.ready or episode.markers.cleaned or path in self._tried:
            return False
        if not (finish.may_tidy(episode.control) and self._grace_is_over(dataset, path)):
            return False
        self._tried.add(path)
        return True

    def _grace_is_over(self, dataset: DatasetView, path: Path) -> bool:
        """Whether receipts were there for long enough by our own clock: after a restart it begins anew."""
        pipeline = self._config.pipelines[dataset.drop.pipeline]
        if pipeline.remove_inputs != "after_published":
            return True
        return self._clock() >= self._grace.setdefault(path, self._clock() + pipeline.grace_s)

    def _needs_mending(self, dataset: DatasetView) -> bool:
        """All is done, but a shared file is another than when we last looked: its recorder, or a late upload, wrote it.

        That is `meta/info.json` and, where the output is elsewhere, all of the received `meta/`, which is copied there.
        """
        if not dataset.episodes or not dataset.finished or str(dataset.output) in self.problems:
            return False
        shared = [dataset.output / "meta" / "info.json"]
        try:
            if dataset.output != dataset.root:
                shared += sorted((dataset.root / "meta").iterdir())
            signature = tuple(_signature(path) for path in shared)
        except OSError:
            return False
        if self._mended.get(dataset.output) == signature:
            return False
        self._mended[dataset.output] = signature
        return True


def _signature(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
