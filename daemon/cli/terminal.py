"""How things look on a terminal: consoles, and numbers, times and foreign names in words."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

#: Columns when the output goes into a file or a pipe: lines are not broken there, for grep.
PIPED_WIDTH: Final = 10_000


def console(*, stderr: bool = False) -> Console:
    """A console that takes no text for markup: names of datasets may hold brackets."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def show(renderable: RenderableType, to: Console | None = None) -> None:
    """Print a table or a text; into a pipe without the blanks that fill the lines of a terminal."""
    out = to or console()
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    for line in captured.get().splitlines():
        out.file.write(line.rstrip() + "\n")
    out.file.flush()


def shown(value: object) -> str:
    """Foreign text made safe to print: line breaks, escape sequences and bytes that are no UTF-8 become visible."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def duration(seconds: float) -> str:
    """About how long, in two units at most: 12 s, 3 min, 2 h 5 min, 3 d 4 h."""
    total = max(0, round(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if total >= 120 else f"{total} s"


def rate(frames_per_second: float) -> str:
    """`38 frames/s`, `1.4 frames/s`."""
    return f"{frames_per_second:.{0 if frames_per_second >= 10 else 1}f} frames/s"


def size(count: float) -> str:
    """Bytes as people read them: 12 kB, 3.4 MB, 120.0 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def commit_id(commit: str | None) -> str:
    """A commit as people quote it: of a git sha the first digits, anything else whole."""
    text = commit or ""
    return text[:12] if len(text) == 40 else shown(text)


def plural(count: int, noun: str) -> str:
    """`1 episode`, `12 episodes`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def first_few(names: Iterable[str], limit: int, total: int | None = None) -> str:
    """`a, b, c and 7 more`."""
    listed = list(names)
    count = total if total is not None else len(listed)
    rest = count - min(limit, len(listed))
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")
