"""What `episoded demo` shows: the steps, the status of the daemon while it works, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from ..control import CONTROL
from .status_table import table
from .terminal import console, plural, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..private import PrivateService
    from ..scan import DropView
    from ..snapshot import Snapshot
    from .demo_check import Facts

    Show = Callable[[Snapshot, list[DropView]], None]

_LABEL: Final = 9


class Display:
    """Prints each step when it is done. `fancy`: on a terminal, with a live picture while the daemon works."""

    def __init__(self, place: Path, fancy: bool) -> None:
        self._console = console()
        self._fancy = fancy
        self._spent = 0.0
        self._began = time.monotonic()
        self._console.print(Text(f"A demonstration of episoded, in {place}", "bold"))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; a spinner on a terminal."""
        started = time.monotonic()
        if self._fancy:
            with self._console.status(name):
                yield
        else:
            yield
        self._spent = time.monotonic() - started

    def recorded(self, root: Path, episodes: int, frames: int) -> None:
        """The recording is on disk."""
        files = list(root.rglob("*.png"))
        what = f"{plural(episodes, 'episode')} of {frames} frames, 2 cameras"
        self._line("record", f"{what}: {len(files)} PNGs, {size(sum(file.stat().st_size for file in files))}")

    def started(self, service: PrivateService) -> None:
        """The daemon serves."""
        self._spent = 0.0
        self._line("start", f"the daemon (pid {service.pid}) watches {_below(service.drop, service.folder)}")

    def uploaded(self, dataset: Path) -> None:
        """All is in the drop folder."""
        self._line("upload", f".{dataset.name}.upload -> {dataset.name}, then {CONTROL}/pending")

    @contextmanager
    def live(self) -> Iterator[Show]:
        """Something to show each look at the daemon with: its status as a picture, or a line for each change."""
        started = time.monotonic()
        if self._fancy:
            self._line("process", "what `episoded status --watch` shows meanwhile:", timed=False)
            with Live(console=self._console, auto_refresh=False) as live:
                yield lambda snapshot, _: live.update(Padding(table(snapshot), (1, 0)), refresh=True)
        else:
            yield _Changes(self._line)
        self._spent = time.monotonic() - started
        self._line("ready", "all is encoded, verified and finished; the PNGs are gone")

    def verified(self, facts: Facts) -> None:
        """The frames are all there."""
        self._spent = 0.0
        what = f"{facts.frames} frames recorded, {facts.frames} in the videos"
        self._line("verify", f"{what}; PSNR at least {facts.worst_psnr_db:.1f} dB", style="green")

    def stopped(self) -> None:
        """The daemon is gone, in good order."""
        self._line("stop", "the daemon drained and ended with status 0")

    def finished(self, dataset: Path, facts: Facts, running: PrivateService | None) -> None:
        """Where the dataset is, what is in it, and what to do next."""
        out = self._console
        out.print()
        out.print(Text.assemble("The encoded dataset: ", (str(dataset), "bold")), soft_wrap=True)
        out.print(Padding(tree(dataset), (0, 0, 0, 2), expand=False))
        times = facts.bytes_before / facts.bytes_after
        before, after = size(facts.bytes_before), size(facts.bytes_after)
        spent = time.monotonic() - self._began
        out.print(
            f"  {before} of PNGs became {after} of video: {times:.0f} times smaller. All this took {spent:.0f} s."
        )
        for title, commands in _next_steps(dataset, running):
            out.print()
            out.print(Text(title, "bold"))
            for command, remark in commands:
                out.print(Text(f"  {command}", "cyan"), soft_wrap=True)
                if remark:
                    out.print(Text(f"      {remark}", "dim"), soft_wrap=True)

    def _line(self, label: str, words: str, *, timed: bool = True, style: str = "") -> None:
        after = f" ({self._spent:.1f} s)" if timed and self._spent >= 0.1 else ""
        if not self._fancy:
            self._console.print(Text(f"{label:>{_LABEL}}  {words}{after}"), soft_wrap=True)
            return
        grid = Table.grid(Column(width=_LABEL, justify="right"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        grid.add_row(Text(label, "bold"), Text.assemble((words, style), (after, "dim")))
        self._console.print(grid)


class _Changes:
    """Where nobody watches: a line when the state of an episode changes."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._states: dict[str, str] = {}

    def __call__(self, _: Snapshot, views: list[DropView]) -> None:
        for view in views:
            for dataset in view.datasets:
                for episode in dataset.episodes:
                    if self._states.get(episode.id) != episode.state:
                        self._states[episode.id] = episode.state
                        self._say(episode.state, episode.id, timed=False)


def tree(dataset: Path) -> Tree:
    """The files of the dataset; the markers of the daemon as one line."""
    top = Tree(f"{dataset.name}/")
    for path in sorted(dataset.iterdir()):
        if path.name == CONTROL:
            top.add(Text(f"{CONTROL}/  markers, checkpoints, quality.json of each episode", "dim"))
        else:
            _grow(top, path)
    return top


def _grow(branch: Tree, path: Path) -> None:
    """One entry; folders with nothing but one folder in them share its line."""
    if path.is_file():
        branch.add(Text.assemble(path.name, (f"  {size(path.stat().st_size)}", "dim")))
        return
    name = path.name
    while len(children := sorted(path.iterdir())) == 1 and children[0].is_dir():
        path = children[0]
        name = f"{name}/{path.name}"
    inner = branch.add(f"{name}/")
    for child in children:
        _grow(inner, child)


def _next_steps(dataset: Path, running: PrivateService | None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(title, commands with a remark each): to be copied and run as they are, apart from /path/to."""
    command = _own_command()
    if running:
        yield from _while_it_runs(command, dataset, running)
    yield (
        "Look at it:",
        [
            (f"{command} show {shlex.quote(str(dataset / 'episode_000000'))}", ""),
            (f"{command} verify {shlex.quote(str(dataset))}", ""),
        ],
    )
    yield (
        "Your own LeRobot dataset with PNG frames (v2.0, v2.1 or v3.0):",
        [
            (f"{command} process /path/to/dataset", "now and in place; PNGs go once their video is verified"),
            (f"{command} run --config config.toml", "the daemon; name your folder at [[drop]] in config.toml"),
            (f"{command} submit /path/to/drop/dataset", "tell it that an upload is complete"),
        ],
    )
    if not running:
        yield "When you have seen enough:", [(f"rm -r {shlex.quote(str(dataset.parent.parent))}", "")]


def _while_it_runs(command: str, dataset: Path, running: PrivateService) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    config, drop = shlex.quote(str(running.config)), running.drop
    more = shlex.quote(str(drop / "more"))
    simulate = "import pathlib, sys, episoded.processors.simulation as s; s.record(pathlib.Path(sys.argv[1]))"
    yield (
        f"The daemon goes on (pid {running.pid}, log {running.log}):",
        [
            (f"{command} status --watch --config {config}", "look on"),
            (f"{shlex.quote(sys.executable)} -c {shlex.quote(simulate)} {more}", "record two more episodes ..."),
            (f"{command} submit {more} --config {config}", "... and say that they are complete"),
            (f"cp -r /path/to/dataset {shlex.quote(str(drop))}/mine", "one of yours; then submit .../mine"),
            (f"kill {running.pid}", "stop it, in good order"),
            (f"rm -r {shlex.quote(str(dataset.parent.parent))}", "when you have seen enough"),
        ],
    )


def _own_command() -> str:
    """How this command is called from here: by its name where the shell finds it, otherwise by its path."""
    script = Path(sys.argv[0])
    if script.name != "episoded":
        return f"{shlex.quote(sys.executable)} -m episoded.daemon"
    found = shutil.which("episoded")
    if found and Path(found).resolve() == script.resolve():
        return "episoded"
    absolute = script.absolute()
    here = Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))


def _below(path: Path, folder: Path) -> str:
    return f"{path.relative_to(folder)}/"
