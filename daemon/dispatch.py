"""From what a scan saw to what is done next: which uploads are complete, and which episode gets the next free slot."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Literal

import structlog

from .complete import UploadTracker
from .errors import EpisodedError, from_os_error
from .guard import Guard
from .jobs import Job
from .state import State
from .work import prepare_output, work_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .config import Config
    from .scan import DatasetView, DropView, EpisodeView

    Choice = tuple[Literal["work", "tidy", "mend"], DatasetView, EpisodeView]

log = structlog.get_logger()


class Dispatcher:
    """Decides; starts nothing itself. Remembers only what the markers cannot say.

    `held`: control directory -> why its episode is not begun. `problems`: output root -> why nothing can be written
    there. `paused`: output root -> what the guard objects to.
    """

    def __init__(self, config: Config, guard: Guard | None = None) -> None:
        self._config = config
        self._guard = guard or Guard(config.guard)
        self._tracker = UploadTracker()
        self._datasets: list[DatasetView] = []
        self._ended: set[Path] = set()
        self._tried: set[Path] = set()
        self._mended: dict[Path, tuple[int, int, int]] = {}
        self.held: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.paused: dict[str, str] = {}

    def take_in(self, views: list[DropView]) -> bool:
        """A fresh scan: mark complete uploads pending. True when that changed anything, so that a scan is due."""
        self._datasets = [dataset for view in views for dataset in view.datasets]
        self._ended, self.held = set(), {}
        before, self.problems = self.problems, {}
        changed = [self._submit_complete(dataset) for dataset in self._datasets]
        for root, message in self.problems.items():
            if before.get(root) != message:
                log.error("folder_unusable", root=root, message=message)
        self.paused = self._objections()
        return any(changed)

    def ended(self, job: Job) -> None:
        """A job ended: what the last scan said of its episode no longer holds."""
        self._ended.add(job.work.control.path)

    def next_jobs(self, busy: list[Job], slots: int) -> list[Job]:
        """Jobs for the free ones of `slots` workers, in turn from each dataset: a large one must not starve others."""
        skip = self._ended | {job.work.control.path for job in busy}
        chosen = list(itertools.islice(self._queue(skip), max(0, slots - len(busy))))
        threads = max(1, len(os.sched_getaffinity(0)) // max(1, len(busy) + len(chosen)))
        return [self._job(kind, dataset, episode, threads) for kind, dataset, episode in chosen]

    def _job(
        self, kind: Literal["work", "tidy", "mend"], dataset: DatasetView, episode: EpisodeView, threads: int
    ) -> Job:
        pipeline = self._config.pipelines[dataset.drop.pipeline]
        return Job(kind, work_for(dataset, episode.id, pipeline, self._config.workers.policy, threads))

    def _submit_complete(self, dataset: DatasetView) -> bool:
        arriving = [episode for episode in dataset.episodes if episode.state is State.ARRIVING]
        complete = [episode for episode in arriving if self._is_complete(dataset, episode, marked=dataset.marked)]
        try:
            for episode in complete:
                prepare_output(dataset)
                episode.control.submit()
        except OSError as error:
            self.problems[str(dataset.output)] = from_os_error(error).message
            return False
        return bool(complete)

    def _is_complete(self, dataset: DatasetView, episode: EpisodeView, *, marked: bool) -> bool:
        if dataset.drop.complete == "marker" and not marked:
            return False  # spares looking at every file of a recording in progress
        key = episode.control.path
        try:
            upload = dataset.format.upload(dataset.root, episode.id)
        except (OSError, EpisodedError) as error:
            self.held[str(key)] = str(error)
            return False
        verdict = self._tracker.judge(key, upload, dataset.drop, marked=marked)
        if verdict.complete:
            self._tracker.forget(key)
        else:
            self.held[str(key)] = verdict.reason
        return verdict.complete

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

    def _queue(self, skip: set[Path]) -> Iterator[Choice]:
        lanes = [self._pending(dataset, skip) for dataset in self._datasets if str(dataset.output) not in self.paused]
        for row in itertools.zip_longest(*lanes):
            yield from (choice for choice in row if choice)
        for dataset in self._datasets:
            for episode in dataset.episodes:
                if episode.control.path not in skip and self._is_untidy(episode):
                    yield "tidy", dataset, episode
            if self._needs_mending(dataset):
                yield "mend", dataset, dataset.episodes[0]

    def _pending(self, dataset: DatasetView, skip: set[Path]) -> Iterator[Choice]:
        for episode in dataset.episodes:
            if episode.state is not State.PENDING or episode.control.path in skip:
                continue
            # A pending marker that came with the upload may be ahead of the files; later generations were past that.
            if episode.markers.generation == 0 and not self._is_complete(dataset, episode, marked=True):
                continue
            yield "work", dataset, episode

    def _is_untidy(self, episode: EpisodeView) -> bool:
        """A finisher was killed between `ready` and `cleaned`. Tried once: a damaged output does not mend itself."""
        path = episode.control.path
        if not episode.markers.ready or episode.markers.cleaned or path in self._tried:
            return False
        self._tried.add(path)
        return True

    def _needs_mending(self, dataset: DatasetView) -> bool:
        """All is done, but `meta/info.json` is another file than when we last looked: its recorder wrote it again."""
        if not dataset.episodes or not dataset.finished or str(dataset.output) in self.problems:
            return False
        try:
            status = (dataset.output / "meta" / "info.json").stat()
        except OSError:
            return False
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._mended.get(dataset.output) == signature:
            return False
        self._mended[dataset.output] = signature
        return True
