"""`episoded report`: how long episodes took, and which have failed."""

import csv
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .. import target as targets
from ..state import State
from .options import LOOK, ConfigOption, OutputOption, PathArgument, settings
from .terminal import duration, plural, shown, size

if TYPE_CHECKING:
    from ..report import Row


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=LOOK)(report)


def report(
    path: PathArgument,
    csv_: Annotated[bool, typer.Option("--csv", help="One line for each episode instead, with every timing.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed episodes; without --csv, their names.")] = False,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Say how long the episodes at PATH took, stage by stage, and what failed.

    For spreadsheets there is --csv: seconds of each stage, bytes, times, codes. With --failed it names what failed, one
    a line, as `episoded retry` and `episoded process` take it. It only reads.
    """
    from .. import report as reports

    datasets = targets.find(path, settings(config), output=output).view().datasets
    found = [row for row in reports.rows(datasets) if not failed or row.state in (State.FAILED, State.WAITING)]
    if csv_:
        stages = reports.stages_in(found)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(reports.columns(stages))
        writer.writerows(row.values(stages) for row in found)
    elif failed:
        for row in found:
            typer.echo(f"{row.dataset}/{row.episode}")
    else:
        _summarise(found)


def _summarise(found: "list[Row]") -> None:
    from rich.table import Table

    from .. import report as reports
    from .terminal import show

    ready = [row for row in found if row.ready_at]
    files, made = sum(row.files for row in ready), sum(row.bytes for row in ready)
    typer.echo(f"{plural(len(found), 'episode')}, {len(ready)} ready, {plural(files, 'file')}, {size(made)}")
    if known := sum(bool(row.found_at) for row in found):
        typer.echo(f"{plural(known, 'episode')} found at their destinations, not made here")
    if rate := reports.per_hour(found):
        typer.echo(f"{rate:,.0f} episodes per hour, from the first claim to the last ready")
    timings = reports.timings(found)
    if timings:
        table = Table("seconds", "episodes", "median", "95 %", "longest", "sum", box=None)
        for one in timings:
            numbers = (f"{value:.3f}" for value in (one.median, one.p95, one.longest))
            table.add_row(one.name, str(one.count), *numbers, duration(one.total))
        show(table)
    for code, count in reports.failures(found):
        typer.echo(f"{plural(count, 'episode')} failed: {shown(code)}")
