"""`episoded doctor`: what is wrong here, and how to mend it."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from .. import config as configuration
from ..errors import ExitCode
from .options import MEND, ConfigOption, JsonOption
from .terminal import shown

if TYPE_CHECKING:
    from ..doctor import Finding

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=MEND)(doctor)


def doctor(json_: JsonOption = False, config: ConfigOption = None) -> None:
    """Check configuration, permissions, disk, events, encoders, GPU, clock and unit, and say how to mend what is wrong.

    Exit: 0, or 1 when something fails.
    """
    from ..doctor import examine  # it knows the destinations, and what they load

    findings = examine(configuration.find(config))
    failed = _print_json(findings) if json_ else _print(findings)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _print_json(findings: Iterator["Finding"]) -> bool:
    listed = list(findings)
    typer.echo(json.dumps({"schema": 1, "findings": [asdict(finding) for finding in listed]}, indent=2))
    return any(finding.level == "fail" for finding in listed)


def _print(findings: Iterator["Finding"]) -> bool:
    """Each finding as it comes: an encoder takes a moment."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from .terminal import console, show

    out, counts = console(), dict.fromkeys(_MARKS, 0)
    for finding in findings:
        counts[finding.level] += 1
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=4)
        line.add_column()
        word, style = _MARKS[finding.level]
        line.add_row(Text(word, style), Text.assemble((f"{shown(finding.what)}: ", "bold"), shown(finding.found)))
        show(line, out)
        if finding.remedy and finding.level != "ok":
            show(Padding(Text(f"what to do: {shown(finding.remedy)}"), (0, 0, 0, 6)), out)
    bad = counts["fail"] + counts["warn"]
    summary = f"{counts['fail']} to mend, {counts['warn']} to know" if bad else "all is well"
    show(Text(summary, "bold red" if counts["fail"] else "yellow" if bad else "green"), out)
    return bool(counts["fail"])
