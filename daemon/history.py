"""The whole story of one episode, told from the names and small files in its control directory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from . import checkpoint
from .control import ControlDir, read_json
from .convert.standing import standing
from .state import GENERATION, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .checkpoint import Record
    from .scan import DatasetView, EpisodeView

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One process' try. `ended`: ready, failed, released, died, or None while it runs. Times in Unix seconds."""

    number: int
    host: str | None
    pid: int | None
    version: str | None
    began_at: float | None
    ended: str | None
    ended_at: float | None
    failure: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class UnitStory:
    """A part of a stage that is done: a camera, the table."""

    name: str
    generation: int
    seconds: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageStory:
    """A stage. `done` False: not yet, or taken out of force. `edits`: shared files that it brought up to date."""

    name: str
    done: bool
    generation: int | None
    version: int | None
    seconds: float | None
    at: float | None
    units: tuple[UnitStory, ...]
    artifacts: tuple[dict[str, Any], ...]
    edits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DestinationStory:
    """One destination of an episode: the receipt (`commit`, `place`, `files`, `at` in Unix seconds), or why not."""

    name: str
    place: str | None = None
    commit: str | None = None
    files: int = 0
    at: float | None = None
    blocked: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ExportStory:
    """The dataset in another `version` at `path`; `held`: whether this episode is in it, as it is now."""

    version: str
    path: str
    held: bool


@dataclass(frozen=True, slots=True)
class Story:
    """One episode, whole. `found`: the destinations that had it before anything was made here."""

    schema: int
    dataset: str
    output: str
    episode: str
    format: str
    pipeline: str
    state: State
    pending: bool
    ready_at: float | None
    inputs_removed: int | None
    generations: tuple[Generation, ...]
    stages: tuple[StageStory, ...]
    failure: dict[str, Any] | None
    quality: dict[str, Any] | None
    destinations: tuple[DestinationStory, ...] = ()
    found: tuple[str, ...] = ()
    export: ExportStory | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def tell(
    dataset: DatasetView, episode: EpisodeView, stages: tuple[str, ...], lerobot_version: str | None = None
) -> Story:
    """The story of an episode; `stages` are those of its pipeline, in order, `lerobot_version` that of its export."""
    control = episode.control
    names = sorted(path.name for path in control.path.iterdir()) if control.path.is_dir() else []
    ready, cleaned = read_json(control.path / "ready") or {}, read_json(control.path / "cleaned") or {}
    done = sorted(episode.markers.stages_done - set(stages))
    passed_over = set(stages) - set(ready["stages"]) if ready.get("stages") or ready.get("found") else set()
    return Story(
        schema=SCHEMA,
        dataset=str(dataset.root),
        output=str(dataset.output),
        episode=episode.id,
        format=dataset.format.name,
        pipeline=_pipeline(control, episode, ready) or dataset.drop.pipeline,
        state=episode.state,
        pending=episode.markers.pending or dataset.marked,
        ready_at=ready.get("at"),
        inputs_removed=cleaned.get("removed"),
        generations=_generations(control, names, episode.state),
        stages=tuple(_stage(control, stage) for stage in (*stages, *done) if stage not in passed_over),
        failure=control.failure(episode.markers) or _last_failure(control, names),
        quality=read_json(control.path / "quality.json") or read_json(dataset.output / episode.id / "quality.json"),
        destinations=tuple(_destinations(control, episode)),
        found=tuple(ready.get("found", ())),
        export=_export(dataset, episode, lerobot_version),
    )


def _export(dataset: DatasetView, episode: EpisodeView, version: str | None) -> ExportStory | None:
    export = standing(replace(dataset, episodes=(episode,)), version)
    held = episode.markers.ready and export is not None and not export.behind
    return ExportStory(export.version, export.path, held) if export else None


def _pipeline(control: ControlDir, episode: EpisodeView, ready: dict[str, Any]) -> str | None:
    """What it went through, as its last claimer says."""
    claim = read_json(control.claim(episode.markers.generation)) or {}
    return ready.get("pipeline") or claim.get("pipeline")


def _destinations(control: ControlDir, episode: EpisodeView) -> Iterator[DestinationStory]:
    for name in sorted(episode.markers.receipts | episode.markers.blocked):
        told = read_json(control.path / f"published.{name}") or {}
        files, blocked = told.get("files", ()), read_json(control.path / f"blocked.{name}")
        yield DestinationStory(name, told.get("place"), told.get("commit"), len(files), told.get("at"), blocked)


def _generations(control: ControlDir, names: list[str], state: State) -> tuple[Generation, ...]:
    numbers = sorted({int(match[1]) for name in names if (match := GENERATION.fullmatch(name))})
    made_ready = {
        record.get("gen"): record
        for name in names
        if name == "ready" or name.startswith("ready.")
        if (record := read_json(control.path / name))
    }
    return tuple(
        _generation(control, number, made_ready.get(number), running=state is State.CLAIMED and number == numbers[-1])
        for number in numbers
    )


def _generation(control: ControlDir, number: int, ready: dict[str, Any] | None, *, running: bool) -> Generation:
    owner = read_json(control.claim(number)) or {}
    failed, released = (read_json(control.outcome(number, kind)) for kind in ("failed", "released"))
    if ready is not None:
        ended, record = "ready", ready
    elif failed is not None:
        ended, record = "failed", failed
    elif released is not None:
        ended, record = "released", released
    else:
        ended, record = ("" if running else "died"), {}
    return Generation(
        number=number,
        host=owner.get("host"),
        pid=owner.get("pid"),
        version=owner.get("version"),
        began_at=owner.get("at"),
        ended=ended or None,
        ended_at=record.get("at"),
        failure=failed,
    )


def _stage(control: ControlDir, name: str) -> StageStory:
    record = checkpoint.read(checkpoint.stage_path(control, name))
    units = tuple(_units(control.path / name))
    if record is None:
        return StageStory(name, False, None, None, None, None, units, (), ())
    artifacts = tuple(asdict(output) for output in record.outputs)
    return StageStory(name, True, record.gen, record.version, record.seconds, record.at, units, artifacts, record.edits)


def _units(folder: Path) -> list[UnitStory]:
    found = [(path.name.removesuffix(".done"), checkpoint.read(path)) for path in sorted(folder.glob("*.done"))]
    return [UnitStory(name, record.gen, record.seconds, _facts(record)) for name, record in found if record]


def _facts(record: Record) -> dict[str, Any]:
    return {key: value for output in record.outputs for key, value in output.facts.items()}


def _last_failure(control: ControlDir, names: list[str]) -> dict[str, Any] | None:
    """The failure before the present attempt: what a person wants to know while it is tried again."""
    failed = [name for name in names if (match := GENERATION.fullmatch(name)) and match[2] == "failed"]
    return read_json(control.path / failed[-1]) if failed else None
