"""What `episoded push` shows while it works: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.padding import Padding
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from .terminal import console, first_few, plural, show, shown, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from episoded.processors.errors import EpisodedError

    from ..push.pusher import Pusher, Waiting
    from ..push.shipment import Shipment


class Lines:
    """One line for each thing that has happened."""

    def __init__(self) -> None:
        self.console = console()
        self._held = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begun(self, shipment: Shipment) -> None:
        """Nothing: lines are for what has happened."""

    def moved(self, count: int) -> None:
        """Nothing."""

    def confirmed(self, shipment: Shipment, *, sent: bool, removed: int) -> None:
        """The server has it."""
        self._held = ""
        gone = f", {plural(removed, 'frame')} removed here" if removed else ""
        words = f"{size(shipment.size)}, {plural(len(shipment.files), 'file')}" if sent else "was there already"
        self.say("confirmed", f"{shipment.name}  {words}{gone}", "green")

    def failed(self, name: str, error: EpisodedError) -> None:
        """This one cannot be sent."""
        self.say("failed", f"{name}: {error.message} [{error.code}]", "red")
        self.note(f"what to do: {error.hint}")

    def held(self, error: EpisodedError, pause_s: float) -> None:
        """Say it once for each reason: a server may be off for a night."""
        if error.code != self._held:
            self.say("held", f"{error.message}; tried again, first in {pause_s:.0f} s", "yellow")
        self._held = error.code

    def encoded(self, name: str, outcome: Literal["encoded", "failed", "interrupted"]) -> None:
        """An episode was encoded here instead, or not."""
        words = {
            "encoded": ("encoded", f"{name}  here, by `episoded process`; its frames stay", "green"),
            "failed": ("failed", f"{name}  here, by `episoded process`; `episoded show` tells why", "red"),
            "interrupted": ("stopped", f"{name}  being encoded here; goes on from there", "yellow"),
        }
        self.say(*words[outcome])

    def concluded(self, pusher: Pusher, there: int, others: Sequence[Waiting], *, whole: bool) -> None:
        """The last lines."""
        for other in others:
            self.say("left", f"{other.name}: {other.reason}", "yellow")
        refused = first_few(pusher.refused, 5)
        words = f"{plural(there, 'dataset' if whole else 'episode')} on {pusher.server}"
        self.say("done", words + (f"; not sent: {refused}" if refused else ""), "red" if refused else "green")

    def note(self, text: str) -> None:
        """More about the line before."""
        show(Padding(Text(shown(text)), (0, 0, 0, 11)), self.console)

    def say(self, word: str, what: str, style: str = "") -> None:
        """One line: a word in colour, and what it is about."""
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=9, justify="right")
        line.add_column(overflow="fold")
        line.add_row(Text(word, style), Text(shown(what)))
        show(line, self.console)


class Bars(Lines):
    """A bar for the shipment whose bytes move; what has ended scrolls by above it."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False)
        self._moving = ""

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begun(self, shipment: Shipment) -> None:
        """A bar of its bytes."""
        self._moving = shipment.name
        self._progress.reset(self._task, total=shipment.size, description=shown(shipment.name), visible=True)

    def moved(self, count: int) -> None:
        """So many more of them."""
        self._progress.advance(self._task, count)

    def confirmed(self, shipment: Shipment, *, sent: bool, removed: int) -> None:
        """The bar has done its work, unless it shows the next one by now."""
        if shipment.name == self._moving:
            self._progress.update(self._task, visible=False)
        super().confirmed(shipment, sent=sent, removed=removed)
