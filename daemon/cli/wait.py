"""`episoded wait`: block until a dataset is ready; what a training job calls first."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import service_file
from .. import target as targets
from ..config import Config
from ..errors import ExitCode, UnknownTargetError
from ..publisher import receipts
from ..scan import DatasetView, DropView, Scanner
from ..state import State
from .options import WORK, ConfigOption, PathArgument, settings
from .terminal import plural, shown

POLL_S = 1.0
#: How long a dataset must be refused before that is its last word: its metadata may be on the way.
REFUSED_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(wait)


def wait(
    path: PathArgument,
    for_: Annotated[Literal["ready", "published"], typer.Option("--for", help="What to wait for.")] = "ready",
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Give up after so long.")] = None,
    config: ConfigOption = None,
) -> None:
    """Block until all episodes at PATH are ready: what a training job calls first.

    PATH need not exist yet. Frames of an interrupted recording do not hold it up, but are warned about. With
    `--for published` until all destinations are proven to have them. Exit: 0 all ready (published), 1 as soon as one
    failed or cannot get to a destination, 124 when the time is up.
    """
    chosen = settings(config)
    if service_file.hear(chosen.service.state_dir) is None:
        _warn("no service is running here: somebody else has to do the work")
    raise typer.Exit(_wait(Waiting(_looker(path, chosen), for_=for_), timeout))


def _looker(path: Path, config: Config) -> Callable[[], DropView | None]:
    """What to call for the picture of now; None while there is nothing at the path."""
    scanners: dict[Path, Scanner] = {}

    def look() -> DropView | None:
        try:
            target = targets.find(path, config)
            return target.view(scanners.setdefault(target.drop.path, Scanner((target.drop,))))
        except UnknownTargetError:
            return None

    return look


@dataclass
class Waiting:
    """What is known so far about the place that is waited for."""

    look: Callable[[], DropView | None]
    clock: Callable[[], float] = time.monotonic
    for_: Literal["ready", "published"] = "ready"
    progress: str = "nothing there yet"
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _refused_since: dict[Path, float] = field(default_factory=dict)

    def poll(self) -> ExitCode | None:
        """Look once: OK when all is ready, FAILED when something has failed, None while there is hope."""
        view = self.look()
        if view is None:
            self.progress = "nothing there yet"
            return None
        self.warnings = [f"{_name(dataset)}/{name}: {why}" for dataset, name, why in _orphans(view)]
        self.failures = [line for dataset in view.datasets for line in self._failed(dataset)]
        episodes = [episode for dataset in view.datasets for episode in dataset.episodes]
        counts = {state: sum(episode.state is state for episode in episodes) for state in State}
        done = counts[State.PUBLISHED] + (counts[State.READY] if self.for_ == "ready" else 0)
        wanted = State(self.for_)
        others = [f"{count} {state}" for state, count in counts.items() if count and state is not wanted]
        self.progress = ", ".join([f"{done} of {plural(len(episodes), 'episode')} {wanted}", *others])
        if self.failures:
            return ExitCode.FAILED
        whole = bool(episodes) and not any(dataset.listing.refusal for dataset in view.datasets)
        return ExitCode.OK if whole and done == len(episodes) else None

    def _failed(self, dataset: DatasetView) -> Iterator[str]:
        for episode in dataset.episodes:
            if episode.state is State.FAILED:
                record = episode.control.failure(episode.markers) or {}
                yield f"{_name(dataset)}/{episode.id}: {record.get('message', 'failed')} [{record.get('code', '?')}]"
            for name in sorted(episode.markers.blocked) if self.for_ == "published" else ():
                record = receipts.read_block(episode.control, name)
                yield f"{_name(dataset)}/{episode.id} to {name}: {record.get('message')} [{record.get('code')}]"
        if refusal := dataset.listing.refusal:
            since = self._refused_since.setdefault(dataset.root, self.clock())
            unfinished = dataset.drop.complete == "marker" and not dataset.marked
            if not (unfinished or refusal.retryable) and self.clock() - since >= REFUSED_S:
                yield f"{_name(dataset)}: {refusal.message} [{refusal.code}]"
        else:
            self._refused_since.pop(dataset.root, None)


def _orphans(view: DropView) -> Iterator[tuple[DatasetView, str, str]]:
    for dataset in view.datasets:
        for name, why in dataset.listing.orphans:
            yield dataset, name, why


def _name(dataset: DatasetView) -> str:
    return dataset.root.name


def _wait(waiting: Waiting, timeout: float | None) -> ExitCode:
    """Poll until there is an answer, or the time is up; say what changes."""
    started, said = time.monotonic(), ""
    warned: set[str] = set()
    while True:
        looked = time.monotonic()
        answer = waiting.poll()
        for warning in waiting.warnings:
            if warning not in warned:
                warned.add(warning)
                _warn(f"not waited for: {warning}")
        if said != waiting.progress:
            said = waiting.progress
            typer.echo(said)
            sys.stdout.flush()
        if answer is not None:
            _explain(waiting)
            return answer
        left = None if timeout is None else started + timeout - time.monotonic()
        if left is not None and left <= 0:
            _warn(f"not ready within {timeout:g} s: {said}; `episoded status` says why")
            return ExitCode.TIMEOUT
        pause = max(POLL_S, 10 * (time.monotonic() - looked))  # a look may cost a tenth of the time at most
        time.sleep(pause if left is None else min(pause, left))


def _explain(waiting: Waiting) -> None:
    for failure in waiting.failures:
        typer.secho(f"failed: {shown(failure)}", fg="red", err=True)
    if waiting.failures:
        typer.echo("`episoded show EPISODE` tells what happened, `episoded retry` tries again", err=True)


def _warn(text: str) -> None:
    typer.secho(shown(text), fg="yellow", err=True)
