"""`episoded convert`: a dataset in the other version of LeRobot's format."""

import json
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode, UnknownTargetError, UsageError
from .options import WORK, JsonOption
from .terminal import console, duration, plural, shown, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..convert.result import Hooks, Result

_STAGES = {"examine": "examining", "write": "writing"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=WORK)(convert)


def convert(
    path: Annotated[Path, typer.Argument(metavar="DATASET", help="A LeRobot dataset: v2.0, v2.1 or v3.0.")],
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="v3.0 or v2.1.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Put the result below DIR, under the dataset's name. Default: beside it, as NAME_v30 or NAME_v21.",
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Let the verified result take the dataset's name; it is kept beside it.")
    ] = False,
    depth: Annotated[
        bool,
        typer.Option(
            "--depth/--no-depth",
            help="In v3.0, depth videos that were made for LeRobot become cameras, which 0.6 and later reads.",
        ),
    ] = True,
    json_: JsonOption = False,
) -> None:
    """Write DATASET in another version of LeRobot's format. Videos are joined and cut without encoding.

    The dataset itself is only read. Every packet is compared, every frame was decoded. Interrupted, the same command
    goes on where it stopped; after more episodes were recorded it appends them. Exit: 0 all converted, 1 not all.
    """
    from ..convert import conversion
    from ..convert.place import beside
    from ..convert.swap import finish_swap, take_place

    root = path.expanduser().absolute()
    if to not in conversion.VERSIONS:
        raise UsageError("no_such_version", f"there is no version {to!r}", f"one of {', '.join(conversion.VERSIONS)}")
    if in_place and output is not None:
        raise UsageError("output_in_place", "--in-place and --output exclude one another", "leave one of them out")
    if in_place and finish_swap(root, to):
        typer.echo(f"{shown(root)} is {to}: its conversion was finished before")
        return
    if not (root / "meta/info.json").is_file():
        raise UnknownTargetError("no_dataset", f"{root} is no LeRobot dataset: no meta/info.json", "name one")
    target = beside(root, to) if output is None else output.expanduser().absolute() / root.name
    with _folder(target.parent), _watched(bars=sys.stdout.isatty() and not json_) as hooks:
        threads = min(4, len(os.sched_getaffinity(0)))
        result = conversion.convert(root, target, to, hooks=hooks, threads=threads, inspect_all=in_place, depth=depth)
    if in_place and not result.left and not result.wrong:
        kept = take_place(root, target, result.from_version)
        result.output = str(root)
        result.notes.append(f"{kept} is the dataset as it was: remove it when you are content")
    typer.echo(json.dumps({"schema": 1, **asdict(result)}, indent=2)) if json_ else _print(result)
    if result.left or result.wrong:
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _folder(path: Path) -> "Iterator[None]":
    """A folder for the result, made where it is not there; gone again if nothing was put into it."""
    from ..fsio import remove_empty_dirs

    stood = next(folder for folder in (path, *path.parents) if folder.is_dir())
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        remove_empty_dirs(path, stood)


@contextmanager
def _watched(*, bars: bool) -> "Iterator[Hooks]":
    """A bar on a terminal, and Ctrl-C: what is finished is kept, and the command ends."""
    from ..convert.result import Hooks
    from ..errors import Cancelled

    stops = 0

    def on_signal(*_: object) -> None:
        nonlocal stops
        stops += 1

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        with _bar() if bars else _silence() as progress:
            yield Hooks(progress, lambda: stops > 0)
    except Cancelled:
        typer.echo("stopped: what was finished is kept; the same command goes on from there", err=True)
        raise typer.Exit(ExitCode.NOT_AVAILABLE) from None


@contextmanager
def _silence() -> "Iterator[Callable[[str, int, int], None]]":
    yield lambda *_: None


@contextmanager
def _bar() -> "Iterator[Callable[[str, int, int], None]]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(TextColumn("{task.description}"), *columns, console=console(), transient=True) as display:
        tasks = {what: display.add_task(words, total=None, visible=False) for what, words in _STAGES.items()}

        def progress(what: str, done: int, total: int) -> None:
            display.update(tasks[what], completed=done, total=total, visible=done < total)

        yield progress


def _print(result: "Result") -> None:
    from .progress import Lines

    say = Lines().say
    encoded = f", {plural(result.encoded, 'video')} encoded anew" if result.encoded else ""
    carried = f", {plural(result.carried, 'other file')} copied" if result.carried else ""
    if result.episodes:
        say("output", f"{result.output}: {result.to_version}")
        say("", f"{plural(result.episodes, 'episode')}, {plural(result.frames, 'frame')}, {size(result.bytes)}")
        say("files", f"{result.made} made, {result.kept} as they were{encoded}{carried}")
    for note in result.notes:
        say("note", note, "yellow")
    for words in result.wrong:
        say("wrong", words, "red")
    for name, why in result.left:
        say("left", f"{name}: {why}", "red")
    word, style = ("not right", "red") if result.wrong else ("not all", "red") if result.left else ("done", "green")
    say(word, f"{result.from_version} to {result.to_version}, {duration(result.seconds)}", style)
