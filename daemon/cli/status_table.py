"""A Snapshot as a picture that a tired person can read: what runs, what failed and what to do, what waits and why."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..state import State
from .status_destinations import destinations
from .terminal import duration, first_few, plural, rate, shown, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from ..snapshot import Dataset, Drop, Failure, Running, Snapshot

BAR_WIDTH: Final = 10
#: How long a worker may say nothing before that is worth a word.
SILENT_S: Final = 5.0
#: Failures of one kind that are shown whole; of the rest only the names.
SHOWN_OF_A_KIND: Final = 3
_STYLES: Final = {
    State.ARRIVING: "dim",
    State.PENDING: "",
    State.CLAIMED: "cyan",
    State.WAITING: "yellow",
    State.READY: "green",
    State.PUBLISHED: "green",
    State.FAILED: "bold red",
}


def table(snapshot: Snapshot) -> RenderableType:
    """The whole picture."""
    blocks: list[RenderableType] = [*_service(snapshot)]
    if not snapshot.drops:
        blocks += ["", Text("no drop folder is configured; `episoded process DATASET` needs none", "yellow")]
    for drop in snapshot.drops:
        blocks += ["", _headline(drop), *_drop(drop, snapshot.at)]
    blocks += destinations(snapshot.destinations, snapshot.at)
    return Group(*blocks)


def _service(snapshot: Snapshot) -> Iterator[RenderableType]:
    service = snapshot.service
    line = Text(time.strftime("%H:%M:%S  ", time.localtime(snapshot.at)), "dim")
    if service.running:
        since = duration(snapshot.at - (service.since or snapshot.at))
        line.append("service running", "not dim green")
        busy = f"{service.busy} of {plural(service.slots, 'worker')} busy"
        line.append(f" for {since}, pid {service.pid}, {busy}", "not dim")
        if service.draining:
            line.append(", stopping", "not dim yellow")
    elif service.running is None:
        words = f"this user may not look into {shown(service.state_dir)}: whether a service runs is not known"
        line.append(words, "not dim yellow")
    else:
        line.append("no service running", "not dim yellow")
    yield line
    if service.version not in (None, snapshot.version):
        yield _indented(Text(f"it is version {service.version}, this command is {snapshot.version}", "yellow"))
    if service.gpus:
        yield _indented(Text(f"GPUs: {shown(service.gpus)}", "yellow" if service.gpus.startswith("none") else "dim"))
    for complaint in service.complaints:
        yield _indented(Text(f"watching: {shown(complaint)}", "yellow"))
    for objection in sorted(set((service.paused or {}).values())):
        yield _indented(Text(f"paused, nothing is begun: {shown(objection)}", "bold yellow"))
    for root, problem in (service.problems or {}).items():
        yield _indented(Text(f"{shown(root)}: {shown(problem)}", "bold red"))


def _headline(drop: Drop) -> Text:
    line = Text(shown(drop.path), "bold")
    if drop.output:
        line.append(f" -> {shown(drop.output)}", "bold")
    rule = f"complete by {drop.complete}" if drop.configured else "not a drop folder"
    line.append(f"   pipeline {shown(drop.pipeline)}, {rule}", "not bold dim")
    if drop.free_bytes is not None:
        line.append(f"   {size(drop.free_bytes)} free", "bold red" if drop.low_disk else "not bold dim")
    return line


def _drop(drop: Drop, now: float) -> Iterator[RenderableType]:
    if drop.error:
        yield _indented(Text(f"cannot be read: {shown(drop.error)}", "bold red"))
        return
    if drop.datasets:
        yield _counts(drop.datasets)
    elif not drop.strangers:
        yield _indented(Text("nothing here yet", "dim"))
    running = [(dataset, one) for dataset in drop.datasets for one in dataset.running]
    if running:
        yield _section("running")
        yield _running(running, now)
    mended = f"once mended: episoded retry {shown(drop.path)}/DATASET"
    for title, hint, state in (("failed", mended, State.FAILED), ("tried again by itself", "", State.WAITING)):
        failures = [(dataset, one) for dataset in drop.datasets for one in dataset.failures if one.state is state]
        if failures:
            yield _section(title).append(f"   {hint}", "not bold dim")
            yield from _failures(failures, now)
    yield from _list("exports", _exports(drop.datasets))
    yield from _list("not begun", _not_begun(drop.datasets))
    yield from _list("not processed", _not_processed(drop))


def _counts(datasets: tuple[Dataset, ...]) -> Table:
    """Datasets and their episodes by state; `published` only where something is."""
    states = [state for state in State if state is not State.PUBLISHED or _total(datasets, state)]
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    grid.add_column("  dataset", overflow="fold", min_width=12)
    for state in states:
        grid.add_column(state.value, justify="right", no_wrap=True)
    grid.add_column("total", justify="right", no_wrap=True)
    for dataset in datasets:
        cells = [_count(dataset.counts[state], _STYLES[state]) for state in states]
        grid.add_row(Text(f"  {shown(dataset.name)}"), *cells, Text(str(dataset.episodes), "bold"))
    if len(datasets) > 1:
        cells = [_count(_total(datasets, state), "dim") for state in states]
        grid.add_row(Text("  all", "dim"), *cells, Text(str(sum(one.episodes for one in datasets)), "dim"))
    return grid


def _total(datasets: tuple[Dataset, ...], state: State) -> int:
    return sum(dataset.counts[state] for dataset in datasets)


def _count(number: int, style: str) -> Text:
    return Text(str(number), style) if number else Text("-", "dim")


def _running(rows: Iterable[tuple[Dataset, Running]], now: float) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_column(width=BAR_WIDTH)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    for dataset, one in rows:
        name = Text(f"  {shown(dataset.name)}/{shown(one.episode)}")
        unit = (one.unit or "").removeprefix("observation.images.")
        doing = f"{one.stage} {shown(unit)}" if one.stage else "starting"
        bar = ProgressBar(total=one.total, completed=one.done or 0, width=BAR_WIDTH) if one.total else Text("")
        done = f"{one.done}/{one.total}" if one.total else ""
        grid.add_row(name, Text(doing, "cyan"), bar, done, Text(_left(one, now), "dim"))
    return grid


def _left(one: Running, now: float) -> str:
    """How long this unit will take; of one that has not said or ends soon, how long it is silent."""
    if one.eta_s:
        return f"{rate(one.rate)}, {duration(one.eta_s)} left" if one.rate else f"{duration(one.eta_s)} left"
    said = one.heard_at or one.since
    return f"for {duration(now - said)}" if said and now - said >= SILENT_S else ""


def _failures(rows: list[tuple[Dataset, Failure]], now: float) -> Iterator[RenderableType]:
    """By kind: the first few whole, of the rest the names."""
    by_code: dict[str, list[tuple[Dataset, Failure]]] = defaultdict(list)
    for dataset, failure in rows:
        by_code[failure.code].append((dataset, failure))
    for code, alike in by_code.items():
        for dataset, failure in alike[:SHOWN_OF_A_KIND]:
            yield from _failure(dataset, failure, now)
        if rest := [f"{shown(dataset.name)}/{failure.episode}" for dataset, failure in alike[SHOWN_OF_A_KIND:]]:
            yield _indented(Text(f"{len(rest)} more with {code}: {first_few(rest, SHOWN_OF_A_KIND)}"))


def _failure(dataset: Dataset, failure: Failure, now: float) -> Iterator[RenderableType]:
    line = Text(f"{shown(dataset.name)}/{failure.episode}", _STYLES[failure.state])
    line.append(f"  {failure.code}", "not bold")
    if failure.stage:
        line.append(f" at {failure.stage}", "not bold")
    if failure.state is State.WAITING:
        again = duration((failure.not_before or now) - now)
        line.append(f", attempt {failure.attempt} of {failure.attempts}, again in {again}", "not bold")
    yield _indented(line)
    yield _indented(Text(shown(failure.message)), 4)
    if failure.hint:
        yield _indented(Text.assemble(("what to do: ", "bold"), shown(failure.hint)), 4)


def _exports(datasets: Iterable[Dataset]) -> Iterator[Text]:
    for dataset in datasets:
        if export := dataset.export:
            line = Text(f"{shown(dataset.name)}: {export.version}, {plural(export.episodes, 'episode')}")
            line.append(
                f", {export.behind} behind" if export.behind else ", up to date", "yellow" if export.behind else "green"
            )
            if export.said:
                line.append(f": {shown(export.said)}")
            yield line


def _not_begun(datasets: Iterable[Dataset]) -> Iterator[Text]:
    for dataset in datasets:
        for held in dataset.held:
            names = first_few(held.episodes, 2, held.count)
            yield Text(f"{shown(dataset.name)}: {plural(held.count, 'episode')}: {shown(held.reason)} ({names})")


def _not_processed(drop: Drop) -> Iterator[Text]:
    for dataset in drop.datasets:
        if refusal := dataset.refusal:
            hint = f"; {refusal.hint}" if refusal.hint else ""
            words = f"{dataset.name}: {refusal.message} [{refusal.code}]{hint}"
            yield Text(shown(words), "yellow" if refusal.passing else "red")
        for orphan in dataset.orphans:
            yield Text(f"{shown(dataset.name)}/{orphan['episode']}: {shown(orphan['reason'])}", "yellow")
    for stranger in drop.strangers:
        name = stranger["path"].rpartition("/")[2]
        yield Text(f"{shown(name)}: {shown(stranger['reason'])}", "dim")


def _list(title: str, lines: Iterator[Text]) -> Iterator[RenderableType]:
    listed = list(lines)
    if listed:
        yield _section(title)
        yield from map(_indented, listed)


def _section(title: str) -> Text:
    return Text(f" {title}", "bold")


def _indented(content: Text, by: int = 2) -> Padding:
    """A paragraph that keeps its indent where it wraps."""
    return Padding(content, (0, 0, 0, by), expand=False)
