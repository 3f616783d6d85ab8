"""Destinations in the picture of `episoded status`: what waits, what moves, what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .terminal import commit_id, duration, first_few, plural, shown, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from ..snapshot import Blocked, Destination


_DOING = {"stage": "sending", "commit": "committing", "probe": "asking", "look": "asking what it has"}


def destinations(listed: Sequence[Destination], now: float) -> Iterator[RenderableType]:
    """A line for each, then what a person has to mend."""
    if not listed:
        return
    yield ""
    yield Text("destinations", "bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        grid.add_column(overflow="fold")
    for one in listed:
        counts = f"{one.waiting} waiting, {one.published} published" + (
            f" ({one.found} found there)" if one.found else ""
        )
        grid.add_row(Text(f"  {one.name}", "bold"), Text(shown(one.place), "dim"), Text(counts), _now(one, now))
    yield grid
    for one in listed:
        for reason in one.blocked:
            yield from _blocked(one, reason)


def _now(one: Destination, now: float) -> Text:
    """What happens there, in the order of what a person wants to know."""
    if one.blocked and not one.blocked[0].episodes:
        return Text("blocked", "bold red")
    if one.offline_since:
        again = f", tried again in {duration(one.again_in_s)}" if one.again_in_s else ""
        return Text(f"offline for {duration(now - one.offline_since)}{again}", "yellow")
    if one.moving and one.moving.total:
        left = f", {duration(one.moving.eta_s)} left" if one.moving.eta_s else ""
        moved = f"{size(one.moving.done)} of {size(one.moving.total)}, {size(one.moving.rate)}/s{left}"
        return Text(moved, "cyan")
    if one.trouble and one.again_in_s is not None:
        return Text(f"{shown(one.trouble)}; tried again in {duration(one.again_in_s)}", "yellow")
    if one.doing:
        return Text(_DOING.get(one.doing, one.doing), "cyan")
    if one.last_commit_at:
        return Text(f"last commit {commit_id(one.last_commit)}, {duration(now - one.last_commit_at)} ago", "dim")
    return Text("")


def _blocked(one: Destination, reason: Blocked) -> Iterator[RenderableType]:
    head = Text(f"  {one.name}", "bold red").append(f"  {reason.code}", "not bold")
    if reason.episodes:
        names = first_few(reason.episodes, 2, reason.count)
        head.append(f"  {plural(reason.count, 'episode')} blocked: {shown(names)}", "not bold")
    yield head
    yield Padding(Text(shown(reason.message)), (0, 0, 0, 4), expand=False)
    if reason.hint:
        yield Padding(Text.assemble(("what to do: ", "bold"), shown(reason.hint)), (0, 0, 0, 4), expand=False)
