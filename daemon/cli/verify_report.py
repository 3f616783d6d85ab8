"""What `episoded verify` prints: findings of a kind together, what they lead to, and what to do."""

from __future__ import annotations

import shlex
from collections import Counter
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
#: What a destination may have of an episode, in the order in which a person wants to know.
_SAID: Final = {
    "wrong": "not as they should be",
    "blocked": "that cannot get there",
    "unknown": "that could not be read back",
    "waiting": "not published yet",
    "there": "proven to be there",
}
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
    """One episode, or what the episodes of a dataset share, as a destination has it."""
    path = shown(shlex.quote(f"{one.dataset}/{one.episode}" if one.episode else one.dataset))
    short = one.dataset.rpartition("/")[2]
    name = shown(f"{short}/{one.episode}" if one.episode else f"{short}: what its episodes share")
    name += f" at {one.destination}"
    mark = typer.style("error", fg="red")
    match one.state:
        case "there":
            typer.echo(f"{name}: there, as it should be")
        case "wrong":
            typer.echo(f" {mark}  {name} is not as it should be")
            for line in one.wrong:
                typer.echo(f"    {shown(line)}")
            overwrite = "" if all(line.endswith(" is not there") for line in one.wrong) else " --overwrite"
            typer.echo(f"    what to do: episoded publish --again{overwrite} --to {one.destination} {path}")
        case "blocked":
            typer.echo(f" {mark}  {name}: cannot get there: {shown(one.error or '')}")
            typer.echo(f"    what to do: {shown(one.hint or '')}")
        case "unknown":
            unknown = typer.style("unknown", fg="yellow")
            typer.echo(f" {unknown}  {name}: could not be read back: {shown(one.error or '')}")
        case "waiting":
            reason = f" ({shown(one.error)})" if one.error else ""
            typer.echo(f" {typer.style('waiting', fg='yellow')}  {name}: not published yet{reason}")


def print_summary(
    reports: Sequence[Report], published: Sequence[Verified], there: Sequence[RemoteVerified] = ()
) -> None:
    """The verdict. Whether a training will read it can only be said of LeRobot datasets: others have no report."""
    damaged = sum(bool(one.damage) for one in published)
    proven = all(one.state == "there" for one in there)
    files = f"{plural(sum(one.artifacts for one in published), 'file')} ({size(sum(one.bytes for one in published))})"
    checked = f"{files} compared with what was published" if published else "nothing was published here by episoded"
    if reports:
        _verdict(reports, damaged, " here" if not proven else "")
        pictures = sum(report.pictures for report in reports)
        checked = f"{plural(pictures, 'picture')} decoded, {checked}"
    elif published:
        verdict = f"not as published: {plural(damaged, 'episode')}" if damaged else "as published"
        typer.secho(verdict, fg="red" if damaged else "green")
    _verdict_there(there)
    typer.echo(checked)


def _verdict(reports: Sequence[Report], damaged: int, where: str) -> None:
    """Of what lies on this machine."""
    errors = sum(report.errors for report in reports) + damaged
    warnings = sum(report.warnings for report in reports)
    if errors:
        typer.secho(f"not ready for training: {plural(errors, 'error')}, {plural(warnings, 'warning')}", fg="red")
    else:
        found = f", {plural(warnings, 'warning')}" if warnings else ""
        typer.secho(f"ready for training{where}{found}", fg="green")


def _verdict_there(there: Sequence[RemoteVerified]) -> None:
    """Of what destinations have: a line for each of them."""
    for name in dict.fromkeys(one.destination for one in there):
        found = [one for one in there if one.destination == name]
        counts = Counter[str](one.state for one in found if one.episode)
        words = [f"{plural(counts[state], 'episode')} {said}" for state, said in _SAID.items() if counts[state]]
        shared = {one.state for one in found if not one.episode} - {"there"}
        words += [f"shared files {said}" for state, said in _SAID.items() if state in shared]
        proven = all(one.state == "there" for one in found)
        colour = "green" if proven else "yellow" if all(one.passes or one.state == "there" for one in found) else "red"
        typer.secho(f"at {name}: {', '.join(words)}", fg=colour)


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
