"""The publisher in the service: for each destination a lane, and a process that is killed when it hangs.

The main loop owns it. It reads what a scan saw, decides what each destination does next, and listens. A destination
that is down, blocked or slow costs the others, and the stages, nothing.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from .. import fsio
from ..control import CONTROL
from ..errors import EpisodedError
from . import companions, desk, receipts
from .inquiry import Inquiry
from .jobs import Dataset, Moving, Outcome, Trouble
from .lane import PLAIN_WAY, Lane
from .manifest import Item, dataset_name, item_of
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from ..config import Config
    from ..scan import DatasetView, DropView, EpisodeView
    from .settings import DestinationConfig

#: Seconds in which a commit that is under way when the service stops may still be proven.
LAST_WORDS_S: Final = 20.0

log = structlog.get_logger()


class Publisher:
    """Lanes and their processes."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._state_dir = config.service.state_dir
        self._clock = clock
        used = {name: config.destinations[name] for one in config.pipelines.values() for name in one.destinations}
        self.lanes = {name: Lane(settings, clock) for name, settings in used.items()}
        level = config.service.log_level
        self._processes = {name: Process(settings, self._state_dir, level) for name, settings in used.items()}
        self._heard_at = dict.fromkeys(used, 0.0)
        self.inquiry = Inquiry(config, self._is_troubled, clock)
        for name, lane in self.lanes.items():
            lane.questions = partial(self.inquiry.questions, name)
            if known := desk.blocked(self._state_dir, name):
                lane.blocked = Trouble("blocked", known["code"], known["message"], known["hint"])

    @property
    def connections(self) -> list[Connection]:
        """What becomes readable when a process says something or dies."""
        return [process.connection for process in self._processes.values() if process.connection]

    @property
    def busy(self) -> bool:
        """Whether a commit is under way: what is committed should be proven before the service stops."""
        return any(lane.job and lane.job.kind in ("commit", "shared") for lane in self.lanes.values())

    def take_in(self, views: Sequence[DropView]) -> None:
        """A fresh scan: what waits for whom. Receipts that are all there get their `published`."""
        if not self.lanes:
            return
        self.inquiry.take_in(views)
        waiting: dict[str, dict[Path, tuple[Item, Dataset]]] = {name: {} for name in self.lanes}
        datasets: dict[str, dict[Path, Dataset]] = {name: {} for name in self.lanes}
        for view in (dataset for drop in views for dataset in drop.datasets):
            aims = self._config.pipelines[view.drop.pipeline].destinations
            dataset = dataset_of(view)
            for name in aims:
                datasets[name][view.output] = dataset
            for episode, path in _to_publish(view, aims):
                if episode.markers.receipts.issuperset(aims):  # else none of 10,000 control directories is read again
                    receipts.seal(episode.control, aims)
                for name in aims:
                    if name not in episode.markers.receipts | episode.markers.blocked:
                        waiting[name][path] = (item_of(view, episode), dataset)
        for name, lane in self.lanes.items():
            lane.backlog.take_in(waiting[name])
            lane.datasets = datasets[name]
            self._read_desk(name, lane)

    def go_on(self) -> None:
        """Give every process that is free its next job."""
        for name, lane in self.lanes.items():
            job = lane.next_job(_is_unsettled)
            if job is None:
                continue
            lane.begin(job)
            self._heard_at[name] = self._clock()
            try:
                self._processes[name].send(job, without_xet=lane.without_xet)
            except OSError as error:
                self._processes[name].kill()
                lane.died(f"it could not be reached: {error}", stalled=False)

    def poll(self) -> bool:
        """Hear the processes out, bury the dead, kill those that hang; True when a job ended."""
        ended = [self._poll_one(name, lane) for name, lane in self.lanes.items()]
        return any(ended)

    def look_again_s(self) -> float:
        """Seconds until time alone makes something due, or a process overdue."""
        times = [lane.look_again_s() for lane in self.lanes.values() if lane.job is None]
        times += [self._deadline_s(name, lane) for name, lane in self.lanes.items() if lane.job]
        return min([*times, self.inquiry.look_again_s()])

    def close(self) -> None:
        """End all processes. Whatever they were doing is found out at the next start."""
        for process in self._processes.values():
            process.kill()

    def status(self) -> dict[str, dict[str, Any]]:
        """What only the service knows of each destination, for `status`."""
        return {name: _status(lane) for name, lane in self.lanes.items()}

    def _poll_one(self, name: str, lane: Lane) -> bool:
        process = self._processes[name]
        try:
            said = process.hear()
        except (EOFError, OSError):
            how = process.kill()
            if lane.job:
                lane.died(how, stalled=False)
            return True
        if said:
            self._heard_at[name] = self._clock()
        for one in said:
            if isinstance(one, Moving):
                lane.moving = one
            else:
                self._ended(name, lane, one)
        if lane.job and self._deadline_s(name, lane) <= 0:
            process.kill()
            lane.died(f"nothing was heard of {lane.job.kind} for {lane.config.stall_s:.0f} s", stalled=True)
            return True
        return any(isinstance(one, Outcome) for one in said)

    def _ended(self, name: str, lane: Lane, outcome: Outcome) -> None:
        was = lane.blocked
        without_xet = lane.without_xet
        lane.ended(outcome)
        self.inquiry.heard(name, outcome.answers)
        if lane.blocked is not was:
            if lane.blocked:
                desk.note_blocked(self._state_dir, name, lane.blocked)
            else:
                desk.resume(self._state_dir, name)
        if outcome.trouble and outcome.trouble.code in PLAIN_WAY:
            with suppress(OSError):  # a cache that cannot be removed costs room, not the service
                fsio.remove_tree(desk.folder(self._state_dir) / name)
        if lane.without_xet and not without_xet:
            self._processes[name].kill()  # it read its environment when it was started

    def _deadline_s(self, name: str, lane: Lane) -> float:
        """Seconds that the process may still be silent: long enough for a slow line, whatever it tells."""
        job = lane.job
        size = max(job.bytes if job else 0, lane.moving.total if lane.moving else 0)
        allowed = max(lane.config.stall_s, 3 * size / lane.config.min_rate)
        return self._heard_at[name] + allowed - self._clock()

    def _is_troubled(self, name: str) -> bool:
        """Whether an answer of this destination is nothing to wait for."""
        lane = self.lanes[name]
        return bool(lane.trouble or lane.blocked)

    def _read_desk(self, name: str, lane: Lane) -> None:
        """Hear what people want."""
        if lane.blocked and desk.blocked(self._state_dir, name) is None:
            lane.resume()
        lane.flush = desk.wants_flush(self._state_dir, name)
        if lane.flush and not len(lane.backlog):
            desk.flushed(self._state_dir, name)
            lane.flush = False


def dataset_of(view: DatasetView) -> Dataset:
    """A dataset of a scan, with shared files to publish."""
    return Dataset(dataset_name(view), view.root, view.output, view.format.name)


def _to_publish(view: DatasetView, aims: Iterable[str]) -> Iterator[tuple[EpisodeView, Path]]:
    if aims:
        for episode in view.episodes:
            if episode.markers.ready and not episode.markers.published:
                yield episode, episode.control.path


def _is_unsettled(dataset: Dataset, config: DestinationConfig) -> bool:
    """Whether a dataset of which episodes are there has shared files that are not."""
    try:
        there = any((dataset.output / CONTROL).glob(f"*/published.{config.name}"))
        return there and not companions.is_settled(dataset, config)
    except (OSError, EpisodedError):
        return False  # its metadata cannot be read (now): the scan says so, in better words


def _status(lane: Lane) -> dict[str, Any]:
    """Plain values; times are Unix seconds, rates bytes per second."""
    told: dict[str, Any] = {"waiting": len(lane.backlog), "doing": lane.job.kind if lane.job else None}
    told |= {"last": lane.last, "offline_since": lane.offline_since, "flush": lane.flush}
    told["trouble"] = _words(lane.trouble)
    told["again_in_s"] = max(0.0, lane.not_before - lane.clock()) if lane.trouble else None
    if lane.moving:
        spent = max(lane.clock() - lane.moving_since, 1e-3)
        rate = lane.moving.done / spent
        left = lane.moving.total - lane.moving.done
        told["moving"] = {
            "done": lane.moving.done,
            "total": lane.moving.total,
            "rate": round(rate),
            "eta_s": round(left / rate, 1) if rate else None,
        }
    else:
        told["moving"] = None
    return told


def _words(trouble: Trouble | None) -> Mapping[str, str] | None:
    return {"code": trouble.code, "message": trouble.message, "hint": trouble.hint} if trouble else None
