"""One Snapshot for every reader: the command line, and whoever asks later.

It is derived from names and a few small files at the moment of asking; what only the running service knows it adds from
`service_file`. Light to import: no codec, no array, no table library.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import service_file
from .control import read_json
from .convert.standing import standing
from .identity import product_version
from .publisher.status import destinations
from .snapshot import SCHEMA, Dataset, Drop, Failure, Held, Refusal, Running, Service, Snapshot
from .state import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .config import Config
    from .scan import DatasetView, DropView, EpisodeView
    from .service_file import ServiceReport
    from .snapshot import Export

#: Episodes named for each reason why some are not begun; the count says how many there are.
EXAMPLES: Final = 5


def take(config: Config, views: Iterable[DropView], now: float | None = None) -> Snapshot:
    """The picture of what a scan saw."""
    at = time.time() if now is None else now
    report, hidden = _listen(config.service.state_dir)
    service = _service(config.service.state_dir, report, hidden=hidden)
    seen = tuple(views)
    drops = tuple(_Picture(config, view, report, at).drop() for view in seen)
    return Snapshot(SCHEMA, at, product_version(), service, drops, destinations(config, seen, report))


def _listen(state_dir: Path) -> tuple[ServiceReport | None, bool]:
    """What the service says, and whether this user may not hear it."""
    try:
        (state_dir / "service.lock").stat()
        if os.access(state_dir / "service.lock", os.R_OK):
            return service_file.hear(state_dir), False
    except PermissionError:
        pass
    except OSError:
        return None, False
    return None, True


def _service(state_dir: Path, report: ServiceReport | None, *, hidden: bool) -> Service:
    if report is None:
        return Service(running=None if hidden else False, state_dir=str(state_dir))
    return Service(
        running=True,
        state_dir=str(state_dir),
        pid=report.pid,
        version=report.version,
        since=report.since,
        config=report.config,
        slots=report.slots,
        busy=report.busy,
        watches=report.watches,
        draining=report.draining,
        gpus=report.gpus,
        complaints=tuple(report.complaints),
        paused=report.paused,
        problems=report.problems,
    )


@dataclass(frozen=True, slots=True)
class _Picture:
    """One drop folder on its way into a snapshot."""

    config: Config
    view: DropView
    report: ServiceReport | None
    at: float

    @property
    def configured(self) -> bool:
        """Whether a service with this configuration looks at this folder."""
        return any(self.view.drop.path == drop.path for drop in self.config.drops)

    def drop(self) -> Drop:
        rule = self.view.drop
        free = _free_bytes(rule.output, rule.path)
        return Drop(
            path=str(rule.path),
            output=str(rule.output) if rule.output else None,
            configured=self.configured,
            pipeline=rule.pipeline,
            complete=rule.complete,
            error=self.view.error,
            free_bytes=free,
            low_disk=free is not None and free < self.config.guard.disk_low,
            strangers=tuple({"path": str(path), "reason": reason} for path, reason in self.view.strangers),
            datasets=tuple(self._dataset(dataset) for dataset in self.view.datasets),
        )

    def _dataset(self, dataset: DatasetView) -> Dataset:
        counts = dict.fromkeys((state.value for state in State), 0)
        by_state: dict[State, list[EpisodeView]] = defaultdict(list)
        for episode in dataset.episodes:
            counts[episode.state] += 1
            by_state[episode.state].append(episode)
        refusal = dataset.listing.refusal
        return Dataset(
            name=str(dataset.root.relative_to(self.view.drop.path)),
            path=str(dataset.root),
            output=str(dataset.output),
            format=dataset.format.name,
            episodes=len(dataset.episodes),
            counts=counts,
            refusal=Refusal(refusal.code, refusal.message, refusal.hint, refusal.retryable) if refusal else None,
            orphans=tuple({"episode": name, "reason": reason} for name, reason in dataset.listing.orphans),
            running=tuple(self._running(episode) for episode in by_state[State.CLAIMED]),
            held=self._held(dataset, [*by_state[State.PENDING], *by_state[State.ARRIVING]]),
            failures=tuple(self._failure(episode) for episode in [*by_state[State.FAILED], *by_state[State.WAITING]]),
            export=self._export(dataset),
        )

    def _export(self, dataset: DatasetView) -> Export | None:
        said = self.report.exports.get(str(dataset.output)) if self.report else None
        return standing(dataset, self.config.pipelines[dataset.drop.pipeline].lerobot_version, said)

    def _running(self, episode: EpisodeView) -> Running:
        control, generation = episode.control, episode.markers.generation
        owner = read_json(control.claim(generation)) or {}
        said = read_json(control.progress(generation)) or {}
        return Running(
            episode=episode.id,
            generation=generation,
            host=str(owner.get("host", "?")),
            pid=owner.get("pid"),
            since=owner.get("at"),
            stages_done=tuple(sorted(episode.markers.stages_done)),
            stages=self.config.pipelines[self.view.drop.pipeline].stages,
            stage=said.get("stage"),
            unit=said.get("unit"),
            done=said.get("done"),
            total=said.get("total"),
            rate=_rate(said),
            eta_s=_eta_s(said),
            heard_at=said.get("at"),
        )

    def _failure(self, episode: EpisodeView) -> Failure:
        record = episode.control.failure(episode.markers) or {}
        return Failure(
            episode=episode.id,
            state=episode.state,
            stage=record.get("stage"),
            code=str(record.get("code", "unknown")),
            message=str(record.get("message", "")),
            hint=str(record.get("hint", "")),
            retryable=bool(record.get("retryable")),
            attempt=record.get("attempt"),
            attempts=self.config.workers.attempts,
            at=record.get("at"),
            not_before=record.get("not_before") if episode.state is State.WAITING else None,
        )

    def _held(self, dataset: DatasetView, episodes: list[EpisodeView]) -> tuple[Held, ...]:
        """Why those that could be worked on are not, by reason."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for episode in episodes:
            by_reason[self._why_not_begun(dataset, episode)].append(episode.id)
        return tuple(Held(reason, len(names), tuple(names[:EXAMPLES])) for reason, names in by_reason.items())

    def _why_not_begun(self, dataset: DatasetView, episode: EpisodeView) -> str:
        if not self.configured:
            return "in no drop folder of the configuration: `episoded process` works on it"
        report, rule = self.report, dataset.drop
        if report:
            for known in (report.problems.get(str(dataset.output)), report.held.get(str(episode.control.path))):
                if known:
                    return known
        if episode.state is State.ARRIVING and rule.complete == "marker" and not (dataset.marked or episode.marked):
            return "waiting for the uploader's marker"
        if report is None:
            return "no service is running"
        if pause := report.paused.get(str(dataset.output)):
            return f"paused: {pause}"
        return "waiting for a free worker" if episode.state is State.PENDING else "not looked at yet"


def _rate(said: dict[str, Any]) -> float | None:
    """Frames per second of a unit so far, not counting those that an earlier attempt had done."""
    try:
        done, spent = said["done"] - said.get("done_before", 0), said["at"] - said["since"]
    except KeyError:
        return None
    return round(done / spent, 2) if done > 0 and spent > 0 else None


def _eta_s(said: dict[str, Any]) -> float | None:
    """Seconds left of a unit at its pace so far."""
    rate = _rate(said)
    left = said["total"] - said["done"] if rate else -1
    return round(left / rate, 1) if rate and left >= 0 else None


def _free_bytes(*places: Path | None) -> int | None:
    """Bytes free for us on the filesystem of the first of these folders that exists."""
    for place in places:
        if place is not None:
            try:
                filesystem = os.statvfs(place)
            except OSError:
                continue
            return filesystem.f_bavail * filesystem.f_frsize
    return None
