"""What `episoded process` shows while it works: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .terminal import console, duration, rate, show, shown

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Task, TaskID

    from ..jobs import Job
    from ..supervisor import Ending, Slot

#: How a job ended -> style and words, for those that a person should see.
_ENDINGS = {
    "ready": ("green", "ready"),
    "failed": ("red", "failed"),
    "waiting": ("red", "failed"),
    "died": ("red", "failed"),
    "error": ("red", "failed"),
    "vanished": ("yellow", "gone"),
    "released": ("yellow", "stopped"),
    "handed_over": ("yellow", "no GPU"),
    "lost": ("yellow", "taken over"),
    "not_available": ("yellow", "not ours"),
    "damaged": ("red", "damaged"),
}


class Lines:
    """One line for each thing that happens."""

    def __init__(self) -> None:
        self.console = console()
        self._began: dict[Path, float] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begun(self, job: Job) -> None:
        """Remember when."""
        self._began[job.work.control.path] = time.monotonic()
        if job.kind == "work":
            self.say("begun", label(job))

    def ended(self, ending: Ending) -> None:
        """Say how, and what to do if it failed."""
        if ending.ended not in _ENDINGS:
            return
        style, word = _ENDINGS[ending.ended]
        job = ending.job
        spent = time.monotonic() - self._began.get(job.work.control.path, time.monotonic())
        self.say(word, label(job), style, f"after {duration(spent)}")
        for line in _remarks(ending):
            self.note(line)

    def held(self, reason: str) -> None:
        """Say that nothing is begun, or that it goes on."""
        self.say("paused" if reason else "going on", reason, "yellow")

    def stopping(self, *, now: bool) -> None:
        """Say what the signal did."""
        words = "now" if now else "after the camera in hand; once more: now"
        self.say("stopping", words, "yellow")

    def tick(self, slots: list[Slot]) -> None:
        """Nothing: lines are for what has happened."""

    def note(self, text: str) -> None:
        """More about the line before."""
        show(Padding(Text(shown(text)), (0, 0, 0, 11)), self.console)

    def say(self, word: str, what: str, style: str = "", extra: str = "") -> None:
        """One line: a word in colour, what it is about, and a remark."""
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=9, justify="right")
        line.add_column(overflow="fold")
        line.add_row(Text(word, style), Text.assemble(shown(what), (f"  {extra}" if extra else "", "dim")))
        show(line, self.console)


class FrameRateColumn(ProgressColumn):
    """Frames per second of a worker's unit; nothing for the bar that counts episodes."""

    def render(self, task: Task) -> Text:
        """Of the task at hand."""
        return Text(rate(task.speed) if task.speed and task.fields.get("frames") else "", "dim")


class Bars(Lines):
    """A bar for all episodes and one for each worker; what has ended scrolls by above them."""

    def __init__(self, episodes: int) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            FrameRateColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self._all = self._progress.add_task("episodes", total=episodes)
        self._tasks: dict[str, TaskID] = {}
        self._units: dict[str, str] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begun(self, job: Job) -> None:
        """Remember when; the bar shows the rest."""
        self._began[job.work.control.path] = time.monotonic()

    def ended(self, ending: Ending) -> None:
        """Say how, and count what will not be begun again."""
        super().ended(ending)
        if ending.job.kind == "work" and ending.ended != "released":
            self._progress.advance(self._all)

    def tick(self, slots: list[Slot]) -> None:
        """Bring the workers' bars up to date."""
        for slot in slots:
            if slot.name not in self._tasks:
                self._tasks[slot.name] = self._progress.add_task("", total=None, visible=False, frames=True)
            self._show(slot, self._tasks[slot.name])

    def _show(self, slot: Slot, task: TaskID) -> None:
        job, report = slot.job, slot.report
        if job is None or job.kind != "work":
            self._progress.update(task, visible=False)
            return
        doing = f"{report.stage} {short(report.unit)}".strip() or "starting"
        description = f"{label(job)}  {doing}"
        if self._units.get(slot.name) != description:  # a new unit has its own pace
            self._units[slot.name] = description
            self._progress.reset(task)
        total = report.total or None
        self._progress.update(task, description=shown(description), completed=report.done, total=total, visible=True)


def label(job: Job) -> str:
    """`dataset/episode_000003`."""
    return f"{job.work.root.name}/{job.work.episode_id}"


def short(unit: str) -> str:
    """A camera's key without what all of them begin with."""
    return unit.removeprefix("observation.images.")


def _remarks(ending: Ending) -> list[str]:
    """Why it failed and what to do, from the episode's own record."""
    if ending.ended == "handed_over":
        return ["its next stage needs a GPU: what was done before is kept, the same command goes on where there is one"]
    if ending.ended in ("ready", "released"):
        return []
    control = ending.job.work.control
    record = control.failure(control.markers()) or {}
    if not record or ending.ended in ("not_available", "lost", "vanished", "damaged"):
        return [ending.reason] if ending.reason else []
    lines = [f"{record.get('message', '')} [{record.get('code', '')}]"]
    if hint := record.get("hint"):
        lines.append(f"what to do: {hint}")
    return lines
