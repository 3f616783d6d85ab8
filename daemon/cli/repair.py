"""`episoded repair`: mend what `verify` found, from what the files hold; keep everything that is replaced."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode, UnknownTargetError
from .options import MEND, ConfigOption, PathArgument, settings
from .terminal import plural, shown
from .verify import places
from .verify_report import bar, print_report, print_summary

if TYPE_CHECKING:
    from episoded.processors.lerobot.inspect import Report
    from episoded.processors.lerobot.repair import Change, Plan, Refusal

#: Changes shown before they are carried out: giving a thousand episodes other numbers takes four thousand.
_CHANGES = 20

DeepOption = Annotated[bool, typer.Option("--deep", help="Mend what shows only when every picture is decoded, too.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=MEND)(repair)


def repair(
    path: PathArgument, dry_run: DryRunOption = False, deep: DeepOption = False, config: ConfigOption = None
) -> None:
    """Mend what `verify` finds wrong with a LeRobot dataset, from what its files hold; nothing is guessed.

    The plan is shown first, and carried out as one: killed at any point, the same command goes on. What is replaced is
    kept in .episoded/repair. What cannot be known is left alone, and said.

    Exit: 0 no error is left, 1 something is.
    """
    roots = _datasets(path, config)
    left = [_show(root, deep=deep) if dry_run else _mend(root, deep=deep) for root in roots]
    if any(left):
        raise typer.Exit(ExitCode.FAILED)


def _datasets(path: Path, config: Path | None) -> list[Path]:
    found = [place for place in places(path, settings(config)) if place.is_lerobot]
    if not found:
        raise UnknownTargetError("no_dataset", f"{path}: no LeRobot dataset here", "name a dataset")
    return [place.root for place in found]


def _show(root: Path, *, deep: bool) -> bool:
    """Print the plan; whether an error would be left."""
    from .. import repair as repairs

    with bar(root.name, hidden=False) as progress:
        plan = repairs.plan(root, deep=deep, progress=progress)
    _print(plan, every=True)
    if plan.changes:
        typer.echo(f"nothing was changed; to carry it out: episoded repair {shown(root)}")
    return any(str(refusal.finding.severity) == "error" for refusal in plan.refusals)


def _mend(root: Path, *, deep: bool) -> bool:
    """Carry out the plan, and verify; whether an error is left."""
    from episoded.processors.lerobot.inspect import inspect_dataset

    from .. import repair as repairs

    plans: list[Plan] = []

    def planned(plan: "Plan") -> None:
        if plan.changes or not plans:
            _print(plan, every=False)
        plans.append(plan)

    with bar(root.name, hidden=False) as progress:
        done = repairs.repair(root, deep=deep, planned=planned, progress=progress)
        report: Report = inspect_dataset(root, deep=deep, progress=progress)
    for one in done:
        typer.echo(f"what was replaced is kept in {shown(one.folder / 'kept')}")
    if done:
        print_report(root, report)
        print_summary([report], [])
    return not report.ok


def _print(plan: "Plan", *, every: bool) -> None:
    if not plan.changes and not plan.refusals:
        typer.secho(f"{shown(plan.root.name)}: nothing to repair", fg="green")
        return
    mended, left = plural(len(plan.mended), "finding"), plural(len(plan.refusals), "finding")
    typer.secho(f"{shown(plan.root.name)}: {mended} can be mended, {left} cannot", bold=True)
    shown_ones = plan.changes if every else plan.changes[:_CHANGES]
    for change in shown_ones:
        for line in _change(change):
            typer.echo(line)
    if rest := len(plan.changes) - len(shown_ones):
        typer.echo(f"  … and {plural(rest, 'change')} more; --dry-run shows them all")
    for refusal in plan.refusals:
        _print_refusal(refusal)


def _change(change: "Change") -> list[str]:
    from episoded.processors.lerobot.repair import Move, Write

    if isinstance(change, Write):
        return [f"  write    {shown(change.target)}", f"           {shown(change.why)}"]
    if isinstance(change, Move):
        return [f"  rename   {shown(change.source)}", f"        to {shown(change.target)}: {shown(change.why)}"]
    return [f"  take out {shown(change.source)}", f"           {shown(change.why)}"]


def _print_refusal(refusal: "Refusal") -> None:
    finding = refusal.finding
    colour = {"error": "red", "warning": "yellow"}.get(str(finding.severity), "blue")
    where = finding.file or (f"episode {finding.episode}" if finding.episode is not None else "")
    typer.echo(f"  {typer.style('left', fg=colour)}     {finding.code} {shown(where)}: {shown(finding.message)}")
    typer.echo(f"           {shown(refusal.reason)}")
