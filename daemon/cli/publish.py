"""`episoded publish`, `flush`, `resume`, `reconcile`: finished episodes on their way to their destinations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import service_file
from .. import target as targets
from ..errors import ExitCode, UsageError
from .options import MEND, WORK, ConfigOption, OutputOption, PathArgument, PipelineOption, settings
from .terminal import duration, plural, shown, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config import Config
    from ..publisher.jobs import Trouble
    from ..publisher.now import Listener
    from ..publisher.settings import DestinationConfig
    from ..scan import DropView
    from ..target import Target

ToOption = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="DEST", help="A [destinations.DEST] of the configuration; default: the pipeline's."),
]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="DEST", show_default=False, help="Names of destinations; default: all.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=WORK)(publish)
    app.command(rich_help_panel=WORK)(flush)
    app.command(rich_help_panel=MEND)(resume)
    app.command(rich_help_panel=MEND)(reconcile)


def publish(
    path: PathArgument,
    to: ToOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what has its receipt: look whether it is there, send what is not.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also over what somebody else has there under the same names.")
    ] = False,
    output: OutputOption = None,
    pipeline: PipelineOption = None,
    config: ConfigOption = None,
) -> None:
    """Publish what is ready at PATH, now, and prove that it arrived. No service is needed.

    What is there already is not sent again; repeat it after any interruption. Exit: 0 all that is ready is published, 1
    not all.
    """
    from .. import logs

    logs.configure("critical")  # what there is to say is said by this command
    chosen = settings(config)
    target = targets.find(path, chosen, pipeline=pipeline, output=output)
    left = 0
    for destination in _destinations(chosen, target.drop.pipeline, to):
        changes = {"on_conflict": "overwrite"} if overwrite else {}
        if again:
            _withdraw(target, destination.name)
        left += _publish(chosen, target, destination.model_copy(update=changes))
    for dataset in target.view().datasets:
        for episode in dataset.episodes:
            if episode.markers.ready:
                _seal(episode.control, chosen.pipelines[dataset.drop.pipeline].destinations)
    unfinished = sum(not episode.markers.ready for dataset in target.view().datasets for episode in dataset.episodes)
    if unfinished:
        typer.echo(f"{plural(unfinished, 'episode')} not ready: not published", err=True)
    if left:
        raise typer.Exit(ExitCode.FAILED)


def flush(names: NamesArgument = None, config: ConfigOption = None) -> None:
    """Have the service commit what waits, whatever its age."""
    from ..publisher import desk

    chosen = settings(config)
    for destination in _named(chosen, names):
        desk.flush(chosen.service.state_dir, destination.name)
        typer.echo(f"{destination.name}: what waits is committed now")
    if service_file.hear(chosen.service.state_dir) is None:
        typer.secho("no service is running: it is done at its next start", fg="yellow", err=True)


def resume(names: NamesArgument = None, config: ConfigOption = None) -> None:
    """Have blocked destinations, and episodes that are blocked there, tried again: after what was wrong is mended.

    What is gone at the destination, such as a repo that was deleted, is made anew.
    """
    from ..publisher import desk, receipts
    from ..scan import Scanner

    chosen = settings(config)
    views = Scanner(chosen.drops).scan()
    for destination in _named(chosen, names):
        was_blocked = desk.resume(chosen.service.state_dir, destination.name)
        freed = 0
        for episode in (one for view in views for dataset in view.datasets for one in dataset.episodes):
            if destination.name in episode.markers.blocked:
                freed += receipts.unblock(episode.control, destination.name)
        words = ["is tried again" if was_blocked else "was not blocked"]
        words += [f"{plural(freed, 'episode')} no longer blocked"] if freed else []
        typer.echo(f"{destination.name}: {', '.join(words)}")


def reconcile(
    path: PathArgument,
    to: ToOption = None,
    output: OutputOption = None,
    pipeline: PipelineOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the receipts of episodes at PATH that are found, whole, at their destinations. Sends nothing.

    For when receipts were lost, or episodes brought there by other means. Episodes that are not processed yet are
    looked for as well: what is there, made of the same with the same settings, need not be made again.
    """
    from ..publisher.now import Listener, Sender, to_send

    chosen = settings(config)
    target = targets.find(path, chosen, pipeline=pipeline, output=output)
    if not to:
        _recognise(target, chosen)
    for destination in _destinations(chosen, target.drop.pipeline, to):
        items = [item for item, _ in to_send(target.view(), destination.name)]
        found = 0
        if items:
            outcome = Sender(destination, chosen.service.state_dir, Listener(), reading=True).transfer.reconcile(items)
            found = len(outcome.proven)
        typer.echo(f"{destination.name}: {found} of {plural(len(items), 'episode')} without a receipt found there")
    for dataset in target.view().datasets:
        for episode in dataset.episodes:
            _seal(episode.control, chosen.pipelines[dataset.drop.pipeline].destinations)


def _recognise(target: "Target", config: "Config") -> None:
    """Of what is not processed yet: take what is there for its result."""
    from .. import batch
    from ..publisher.ask import ask
    from ..worker import StopRequests, perform

    def troubled(name: str, trouble: "Trouble") -> None:
        typer.secho(f"{name}: {shown(trouble.message)} [{trouble.code}]", fg="yellow", err=True)

    view = target.view()
    found = ask([view], config, troubled=troubled)
    if not found:
        return
    batch.prepare(view)
    ended = [perform(job, StopRequests())[0] for job in batch.recognitions(view, config, found)]
    where = ", ".join(config.pipelines[target.drop.pipeline].destinations)
    typer.echo(f"{where}: {plural(ended.count('found'), 'episode')} found there that need not be processed")


def _withdraw(target: "Target", name: str) -> None:
    """Take the receipts of a destination out of force: what they say is proven anew."""
    from ..publisher import receipts

    for dataset in target.view().datasets:
        for episode in dataset.episodes:
            if name in episode.markers.receipts:
                receipts.withdraw_one(episode.control, name)


def _publish(chosen: "Config", target: "Target", destination: "DestinationConfig") -> int:
    """Send to one destination; how many episodes are not there."""
    from ..publisher import receipts
    from ..publisher.now import Sender, to_send
    from ..publisher.publisher import dataset_of

    view = target.view()
    waiting = list(to_send(view, destination.name))
    for item, _ in waiting:
        receipts.unblock(item.control, destination.name)
    with _Bar(destination.name, len(waiting)) as bar:
        sender = Sender(destination, chosen.service.state_dir, bar.listener())
        result = sender.send(waiting)
        sender.settle([dataset_of(dataset) for dataset in view.datasets if _is_there(view, destination.name)])
    typer.echo(f"{destination.name}: {_summary(view, destination.name, len(result.proven))}")
    for item, _ in waiting:
        if not (told := receipts.read_block(item.control, destination.name)):
            continue
        typer.secho(f"  {item.episode}: {shown(told.get('message', ''))} [{told.get('code')}]", fg="red", err=True)
        typer.echo(f"  what to do: {shown(told.get('hint', ''))}", err=True)
    return len(waiting) - len(result.proven)


class _Bar:
    """Bytes of the part in hand on a terminal; elsewhere a line for each commit."""

    def __init__(self, name: str, episodes: int) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        from .terminal import console

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._live = self._progress.console.is_terminal
        self._task = self._progress.add_task(name)
        self._name, self._episodes, self._proven = name, episodes, 0

    def __enter__(self) -> "_Bar":
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def listener(self) -> "Listener":
        from ..publisher.now import Listener

        return Listener(self._moved, self._done, self._again)

    def _moved(self, done: int, total: int) -> None:
        words = f"{self._name}: {self._proven} of {plural(self._episodes, 'episode')} proven"
        self._progress.update(self._task, completed=done, total=total, description=words)

    def _done(self, outcome: object) -> None:
        proven, commit = getattr(outcome, "proven", ()), getattr(outcome, "commit", "")
        self._proven += len(proven)
        if proven and not self._live:
            typer.echo(
                f"{self._name}: {plural(len(proven), 'episode')} proven" + (f", commit {commit}" if commit else "")
            )

    def _again(self, error: Exception, pause_s: float) -> None:
        typer.secho(f"{self._name}: {shown(getattr(error, 'message', error))}", fg="yellow", err=True)
        typer.echo(f"  tried again in {duration(pause_s)}", err=True)


def _summary(view: "DropView", name: str, proven: int) -> str:
    from ..publisher import receipts
    from ..publisher.now import sent

    known = list(sent(view, name))
    count = sum(entry["size"] for item in known for entry in (receipts.read(item.control, name) or {}).get("files", ()))
    before = f", {plural(len(known), 'episode')} ({size(count)}) there before" if known else ""
    return f"{plural(proven, 'episode')} published{before}"


def _is_there(view: "DropView", name: str) -> bool:
    from ..publisher.now import sent

    return any(True for _ in sent(view, name))


def _seal(control: object, destinations: "Iterable[str]") -> None:
    from ..control import ControlDir
    from ..publisher import receipts

    assert isinstance(control, ControlDir)
    receipts.seal(control, tuple(destinations))


def _destinations(config: "Config", pipeline: str, to: list[str] | None) -> "Iterator[DestinationConfig]":
    """Those that were named, else the pipeline's. Raises UsageError where there are none."""
    if to:
        yield from _named(config, to)
        return
    if not (own := config.destinations_of(pipeline)):
        message = f"the pipeline {pipeline!r} has no destinations"
        raise UsageError("no_destination", message, "name one with --to, or set `destinations` in the pipeline")
    yield from own


def _named(config: "Config", names: list[str] | None) -> "list[DestinationConfig]":
    """The destinations of these names; all of the configuration without any. Raises UsageError."""
    for name in names or ():
        if name not in config.destinations:
            known = f"there are {', '.join(config.destinations)}" if config.destinations else "there is none"
            where = shown(config.source or Path("the built-in configuration"))
            raise UsageError(
                "no_such_destination", f"{where} has no destination {name!r}; {known}", "[destinations.NAME]"
            )
    return [config.destinations[name] for name in names or config.destinations]
