"""`episoded calibration`: make released calibrations quick to look up."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import WORK
from .terminal import plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

FolderArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The folder with intrinsics.json, cam2base_extrinsic_superset.json and so on."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(calibration)
    group.command()(index)
    app.add_typer(group, name="calibration", rich_help_panel=WORK)


def calibration() -> None:
    """Make DROID's released calibrations quick to look up."""


def index(folder: FolderArgument) -> None:
    """Index the calibration files in DIR by uuid, once: reading 189 MB of JSON is spared to every episode.

    The index is a file beside them; the settings of the tracks stage name the folder. Build it again when a file was
    replaced. A running service takes up the new one with its next episode.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from episoded.processors.calibration.index import build

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        built = build(folder.expanduser().resolve(), _shown_on(bars))
    for name, entries in built.entries.items():
        typer.echo(f"{name}: {plural(entries, 'episode')}")
    typer.echo(f"{built.path}")


def _shown_on(bars: "Progress") -> "Callable[[str, int, int], None]":
    """A bar for each file."""
    tasks: dict[str, TaskID] = {}

    def progress(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done)

    return progress
