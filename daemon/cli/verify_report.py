"""What `episoded verify` prints: findings of a kind together, what they lead to, and what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from .terminal import console, plural, shown, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from episoded.processors.lerobot.findings import Finding
    from episoded.processors.lerobot.inspect import Report

    from ..artifacts import Verified
    from ..publisher.remote import RemoteVerified

#: Places named under a kind of finding; `--json` has them all.
_PLACES: Final = 3
_COLOURS: Final = {"error": "red", "warning": "yellow", "note": "blue"}


@contextmanager
def bar(name: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.progress import Progress

    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=hidden or not out.is_terminal) as progress:
        task = progress.add_task(shown(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_report(root: Path, report: Report | None) -> None:
    """One dataset."""
    if report is None:
        return
    typer.secho(f"{shown(root.name)}  {_about(report)}", bold=True)
    for group in report.groups():
        first = group[0]
        severity = str(first.severity)
        typer.echo(f" {typer.style(severity, fg=_COLOURS[severity])}  {first.code}")
        for finding in group[:_PLACES]:
            typer.echo(f"    {_place(finding)}{shown(finding.message)}")
        if len(group) > _PLACES:
            typer.echo(f"    … and {len(group) - _PLACES} more")
        if consequence := report.consequence(first):
            typer.echo(f"    in LeRobot: {consequence}")
        typer.echo(f"    what to do: {first.remedy}")


def print_damage(published: Sequence[Verified], output: Path | None = None) -> None:
    """Episodes whose artifacts are not what was published. `output`: as it was given on the command line."""
    for one in published:
        if not one.damage:
            continue
        name = shown(f"{one.dataset.rpartition('/')[2]}/{one.episode}")
        typer.echo(f" {typer.style('error', fg='red')}  {name} is not as published")
        for line in one.damage:
            typer.echo(f"    {shown(line)}")
        stage = one.damage[0].partition(":")[0]
        where = f" --output {shown(output)} --pipeline {one.pipeline}" if output else ""
        if one.frames_left or stage != "encode":
            typer.echo(f"    what to do: episoded retry --from {stage} {shown(one.dataset)}/{one.episode}{where}")
        else:
            typer.echo("    what to do: restore the file from a copy; its frames are gone, it cannot be made again")


def print_remote(one: RemoteVerified) -> None:
    """One episode as a destination has it."""
    name = f"{shown(one.dataset.rpartition('/')[2])}/{one.episode} at {one.destination}"
    if one.error:
        typer.echo(f" {typer.style('error', fg='red')}  {name}: could not be read back: {shown(one.error)}")
    elif one.wrong:
        typer.echo(f" {typer.style('error', fg='red')}  {name} is not as its receipt says")
        for line in one.wrong:
            typer.echo(f"    {shown(line)}")
        again = f"episoded publish --again --to {one.destination} {shown(one.dataset)}/{one.episode}"
        typer.echo(f"    what to do: {again}")
    else:
        typer.echo(f"{name}: there, as its receipt says")


def print_summary(reports: Sequence[Report], published: Sequence[Verified]) -> None:
    """The verdict. Whether a training will read it can only be said of LeRobot datasets: others have no report."""
    damaged = sum(bool(one.damage) for one in published)
    errors = sum(report.errors for report in reports) + damaged
    warnings = sum(report.warnings for report in reports)
    files = f"{plural(sum(one.artifacts for one in published), 'file')} ({size(sum(one.bytes for one in published))})"
    checked = f"{files} compared with what was published" if published else "nothing was published here by episoded"
    if not reports:
        if published:
            verdict = f"not as published: {plural(damaged, 'episode')}" if damaged else "as published"
            typer.secho(verdict, fg="red" if damaged else "green")
        typer.echo(checked)
        return
    if errors:
        typer.secho(f"not ready for training: {plural(errors, 'error')}, {plural(warnings, 'warning')}", fg="red")
    else:
        found = f", {plural(warnings, 'warning')}" if warnings else ""
        typer.secho(f"ready for training{found}", fg="green")
    pictures = sum(report.pictures for report in reports)
    typer.echo(f"{plural(pictures, 'picture')} decoded, {checked}")


def _about(report: Report) -> str:
    if report.version is None:
        return "LeRobot, but not readable"
    parts = [(report.episodes, "episode"), (report.frames, "frame"), (report.cameras, "camera")]
    return f"LeRobot {report.version}, " + ", ".join(plural(count, noun) for count, noun in parts)


def _place(finding: Finding) -> str:
    """Where it is: the file where there is one, else the episode and the camera."""
    shared = finding.file is None or finding.file.parts[0] == "meta" or finding.file.name.startswith("file-")
    if finding.file is not None and not (shared and finding.episode is not None):
        return f"{shown(finding.file)}: "
    parts = [f"episode {finding.episode}"] if finding.episode is not None else []
    parts += [finding.camera] if finding.camera else []
    return f"{shown(', '.join(parts))}: " if parts else ""
