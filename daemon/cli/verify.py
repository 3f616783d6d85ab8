"""`episoded verify`: will LeRobot read what was recorded, and are the artifacts still what was published."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import artifacts
from .. import target as targets
from ..errors import ExitCode, UnknownTargetError
from .options import MEND, ConfigOption, JsonOption, OutputOption, PathArgument, settings
from .verify_report import bar, print_damage, print_remote, print_report, print_summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from episoded.processors.lerobot.inspect import Report

    from ..config import Config
    from ..publisher.remote import RemoteVerified
    from ..scan import DatasetView

RemoteOption = Annotated[bool, typer.Option("--remote", help="Read back from every destination, too.")]
DeepOption = Annotated[bool, typer.Option("--deep", help="Decode every picture, not only the first and the last.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=MEND)(verify)


def verify(
    path: PathArgument,
    deep: DeepOption = False,
    remote: RemoteOption = False,
    json_: JsonOption = False,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Find what is wrong with LeRobot datasets, made here or not, before a training does. Changes nothing.

    Finished files, DROID's too, are compared with what was published; with --remote, every episode is read back from
    every destination of its pipeline. Every finding: docs/verify.md.

    Exit: 0 ready for training and as published, 1 something is an error (warnings and notes are not), 75 no error, but
    with --remote: not published yet, or a destination cannot be reached.
    """
    reports: list[Report] = []
    published: list[artifacts.Verified] = []
    chosen = settings(config)
    for place in places(path, chosen, output):
        report, found = _inspect(place, deep=deep, quiet=json_), list(place.artifacts())
        reports += [report] if report else []
        published += found
        if not json_:
            print_report(place.root, report)
            print_damage(found, output)
    there = _remote(path, chosen, output, quiet=json_) if remote else []
    if json_:
        about = {"datasets": [one.as_json() for one in reports], "episodes": [asdict(one) for one in published]}
        about |= {"remote": [asdict(one) for one in there]} if remote else {}
        typer.echo(json.dumps({"schema": 1, **about}, indent=2))
    else:
        print_summary(reports, published, there)
    unproven = [one for one in there if one.state != "there"]
    sound = all(report.ok for report in reports) and all(one.passes for one in unproven)
    if any(one.damage for one in published) or not sound:
        raise typer.Exit(ExitCode.FAILED)
    if unproven:
        raise typer.Exit(ExitCode.NOT_AVAILABLE)


def _remote(path: Path, config: "Config", output: Path | None, *, quiet: bool) -> "list[RemoteVerified]":
    """What destinations have of the episodes."""
    from ..publisher.remote import verify_remote

    found = []
    for one in verify_remote(targets.find(path, config, output=output).view(), config):
        found.append(one)
        if not quiet:
            print_remote(one)
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset to look at; `view` is None where no scan takes the folder for one. `only`: the one episode meant."""

    root: Path
    view: "DatasetView | None" = None
    only: int | None = None

    @property
    def is_lerobot(self) -> bool:
        """Whether LeRobot is meant to read it; a folder that only looks like a dataset can be nothing else."""
        return self.view is None or self.view.format.name.startswith("lerobot")

    def artifacts(self) -> "Iterator[artifacts.Verified]":
        """Its finished episodes, compared with their checkpoints."""
        return artifacts.verify(self.view) if self.view else iter(())


def places(path: Path, config: "Config", output: Path | None = None) -> list[Place]:
    """The datasets at `path`. Raises UnknownTargetError where there is none, not even a broken one."""
    try:
        target = targets.find(path, config, output=output)
        views = target.view().datasets
    except UnknownTargetError:
        if not _was_one(path):
            raise
        return [Place(path.resolve())]
    number = re.fullmatch(r"episode_(\d+)", target.episode or "")
    only = int(number[1]) if number else None
    return [Place(_finished(view), view, only) for view in views]


def _was_one(path: Path) -> bool:
    """Whether a folder without a usable meta/info.json has all the rest of a dataset."""
    return (path / "data").is_dir() and ((path / "meta").is_dir() or (path / "videos").is_dir())


def _finished(view: "DatasetView") -> Path:
    """Where the finished dataset lies: in its output, once there is something."""
    return view.output if (view.output / "meta/info.json").is_file() else view.root


def _inspect(place: Place, *, deep: bool, quiet: bool) -> "Report | None":
    if not place.is_lerobot:
        return None
    from episoded.processors.lerobot.inspect import inspect_dataset

    only = None if place.only is None else frozenset({place.only})
    with bar(place.root.name, hidden=quiet) as progress:
        return inspect_dataset(place.root, deep=deep, only=only, progress=progress)
