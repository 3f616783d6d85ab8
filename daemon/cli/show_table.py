"""The story of an episode as a picture."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..state import State
from .terminal import commit_id, duration, plural, shown, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ..history import DestinationStory, Generation, StageStory, Story

_STYLES = {"ready": "green", "published": "green", "failed": "bold red", "waiting": "yellow", "died": "red"}


def table(story: Story) -> RenderableType:
    """Everything, in the order of the episode's life."""
    blocks: list[RenderableType] = [*_head(story)]
    if story.generations:
        blocks += [_section("attempts"), _inset(_attempts(story.generations))]
    if story.found:
        where = ", ".join(story.found)
        words = f"found at {where}, made of the same with the same settings: not made here, and its files are not here"
        blocks += [
            _section("found"),
            _indented(words),
            _indented("`episoded retry --from STAGE` has it made here", "dim"),
        ]
    else:
        blocks += [_section("stages"), _inset(_stages(story.stages))]
    if artifacts := [artifact for stage in story.stages for artifact in stage.artifacts]:
        blocks += [_section("artifacts"), _inset(_artifacts(artifacts))]
    if story.quality:
        blocks += [_section("quality"), *_quality(story.quality)]
    if story.destinations:
        blocks += [_section("destinations"), _inset(_destinations(story.destinations))]
    if story.export:
        where = f"in {shown(story.export.path)}" if story.export.held else "not in it yet, as it is now"
        blocks += [_section("export"), _indented(f"{story.export.version}: {where}")]
    if story.failure:
        title = "error" if story.state in (State.FAILED, State.WAITING) else "last error, of an earlier attempt"
        blocks += [_section(title), *_failure(story.failure)]
    return Group(*blocks)


def _head(story: Story) -> Iterator[Text]:
    yield Text.assemble((shown(f"{story.dataset}/{story.episode}"), "bold"), "  ", _colored(story.state))
    line = f"{story.format} dataset, pipeline {story.pipeline}"
    if story.output != story.dataset:
        line += f", output in {story.output}"
    if story.ready_at:
        line += f", ready since {_when(story.ready_at)}"
    if story.inputs_removed:
        line += f", {plural(story.inputs_removed, 'frame')} removed"
    yield Text(shown(line), "dim")


def _attempts(generations: tuple[Generation, ...]) -> Table:
    grid = _grid("", "began", "by", "ended", "after", "why")
    for one in generations:
        failure = one.failure or {}
        spent = duration(one.ended_at - one.began_at) if one.ended_at and one.began_at else ""
        who = f"pid {one.pid} on {one.host}"
        why = f"{failure['code']} at {failure.get('stage') or 'start'}" if failure else ""
        began = _when(one.began_at) if one.began_at else ""
        grid.add_row(str(one.number), began, shown(who), _colored(one.ended or "running"), spent, shown(why))
    return grid


def _stages(stages: tuple[StageStory, ...]) -> Table:
    grid = _grid("stage", "", "took", "measured")
    for stage in stages:
        done = Text("done", "green") if stage.done else Text("not done", "dim")
        grid.add_row(stage.name, done, _seconds(stage.seconds), "")
        for unit in stage.units:
            if unit.facts or len(stage.units) > 1:
                grid.add_row(Text(f"  {shown(unit.name)}", "dim"), "", _seconds(unit.seconds), _measured(unit.facts))
    return grid


def _measured(facts: dict[str, Any]) -> str:
    """The facts of a video that people ask for first."""
    words = []
    if "frames" in facts and "width" in facts:
        words.append(f"{facts['frames']} frames {facts['width']}x{facts.get('height')} {facts.get('codec')}")
    elif "rows" in facts:
        words.append(f"{facts['rows']} rows at {facts['fps']:.1f} fps, {facts['path_mm']:.0f} mm travelled")
    if psnr := facts.get("psnr_db"):
        words.append(f"PSNR {psnr['mean']} dB (min {psnr['min']})")
    if facts.get("bytes_in") and facts.get("bytes_out"):
        words.append(f"{size(facts['bytes_in'])} -> {size(facts['bytes_out'])}")
    if model := facts.get("model"):
        words.append(f"{facts.get('kind')} by {model}" + "".join(f", {note}" for note in facts.get("licence") or ()))
    if facts.get("adopted"):
        words.append("was there already")
    return ", ".join(words)


def _artifacts(artifacts: list[dict[str, Any]]) -> Table:
    grid = _grid("file", "size", "sha256")
    grid.columns[1].justify = "right"
    for artifact in artifacts:
        grid.add_row(shown(artifact["path"]), size(artifact["size"]), artifact["sha256"][:12])
    return grid


def _destinations(listed: tuple[DestinationStory, ...]) -> Table:
    grid = _grid("to", "", "files", "commit", "place, or why not")
    for one in listed:
        if one.at:
            at, state = _when(one.at), Text("published", "green")
            grid.add_row(one.name, state, str(one.files), commit_id(one.commit), f"{shown(one.place)}, {at}")
        if one.blocked:
            grid.add_row(one.name, Text("blocked", "bold red"), "", "", shown(one.blocked.get("message", "")))
    return grid


def _quality(quality: dict[str, Any]) -> Iterator[RenderableType]:
    grid = _grid("camera", "expected", "found", "stale", "repeated", "constant", "PSNR")
    for camera in quality.get("cameras", ()):
        psnr = camera.get("psnr_db") or {}
        constant = Text("yes", "bold red") if camera.get("constant") else Text("no")
        missing = camera["frames_found"] - camera["frames_stale"] != camera["frames_expected"]
        found = Text(str(camera["frames_found"]), "bold red" if missing else "")
        grid.add_row(
            shown(camera["key"]),
            str(camera["frames_expected"]),
            found,
            str(camera["frames_stale"]),
            _known(camera.get("duplicates")),
            constant,
            f"{psnr['mean']} dB" if psnr else "-",
        )
    if quality.get("cameras"):
        yield _inset(grid)
    if stamps := quality.get("timestamps"):
        drift, fps = stamps["max_drift_s"], stamps.get("measured_fps")
        yield _indented(
            f"time stamps: {_known(fps)} fps measured of {quality['fps']} nominal, at most {drift:g} s off, "
            f"about {stamps['dropped_estimate']} frames dropped"
        )
    for note in (*quality.get("flags", ()), *quality.get("notes", ())):
        yield _indented(note, "yellow")


def _failure(failure: dict[str, Any]) -> Iterator[RenderableType]:
    yield _indented(f"{failure.get('message', '')} [{failure.get('code', '')}]", "red")
    if failure.get("hint"):
        yield _indented(f"what to do: {failure['hint']}")
    kind = "may be tried again" if failure.get("retryable") else "permanent"
    yield _indented(f"{kind}, attempt {failure.get('attempt')}, at {failure.get('stage') or 'start'}", "dim")
    for line in (failure.get("traceback") or "").splitlines():
        yield _indented(line, "dim", by=4)


def _grid(*headers: str) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for header in headers:
        grid.add_column(header, overflow="fold")
    return grid


def _section(title: str) -> Text:
    return Text(f"\n {title}", "bold")


def _indented(text: str, style: str = "", *, by: int = 2) -> Padding:
    return Padding(Text(shown(text), style), (0, 0, 0, by), expand=False)


def _inset(grid: Table) -> Padding:
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _colored(word: str) -> Text:
    return Text(word, _STYLES.get(word, "cyan"))


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _known(value: object) -> str:
    return "-" if value is None else str(value)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
