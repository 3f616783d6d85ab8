"""`episoded status`: where everything stands."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from .. import status as snapshots
from .. import target as targets
from ..errors import ExitCode
from ..scan import Scanner
from ..snapshot import Snapshot
from .options import LOOK, ConfigOption, JsonOption, OutputOption, settings

WATCH_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=LOOK)(status)


def status(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="A dataset, an episode, or a folder of datasets; default: all drop folders of the configuration.",
        ),
    ] = None,
    json_: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep looking, until Ctrl-C.")] = False,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Show where everything stands: datasets, running stages, failures with what to do, disk, and why things wait.

    Works with and without a service; it only reads. Exit: 0, or 3 when something failed.
    """
    look = _looker(path, output, config)
    if not watch:
        snapshot = look()
        _print(snapshot, as_json=json_)
        raise typer.Exit(ExitCode.SOME_FAILED if snapshot.failed else ExitCode.OK)
    try:
        _watch(look, as_json=json_)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _looker(path: Path | None, output: Path | None, config: Path | None) -> Callable[[], Snapshot]:
    """What to call for the picture of now."""
    chosen = settings(config)
    if path is None:
        everything = Scanner(chosen.drops)
        return lambda: snapshots.take(chosen, everything.scan())
    target = targets.find(path, chosen, output=output)
    scanner = Scanner((target.drop,))
    return lambda: snapshots.take(chosen, [target.view(scanner)])


def _print(snapshot: Snapshot, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(snapshot.to_json(), indent=2))
        return
    from .status_table import table
    from .terminal import show

    show(table(snapshot))


def _watch(look: Callable[[], Snapshot], *, as_json: bool) -> None:
    """On a terminal one picture that changes; elsewhere one after the other, JSON as one line each."""
    if as_json:
        for snapshot in _pictures(look):
            typer.echo(json.dumps(snapshot.to_json()))
            sys.stdout.flush()
    if not sys.stdout.isatty():
        for snapshot in _pictures(look):
            _print(snapshot, as_json=False)
            typer.echo()
    from rich.live import Live

    from .status_table import table
    from .terminal import console

    with Live(console=console(), auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        for snapshot in _pictures(look):
            live.update(table(snapshot), refresh=True)


def _pictures(look: Callable[[], Snapshot]) -> Iterator[Snapshot]:
    """One a second, for ever; looking at many thousands of episodes may cost a tenth of the time at most."""
    while True:
        began = time.monotonic()
        snapshot = look()
        cost = time.monotonic() - began
        yield snapshot
        time.sleep(max(WATCH_S, 10 * cost))
