"""How long episodes took and how they ended: one row for each, told from its control directory."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from . import checkpoint
from .control import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .scan import DatasetView, EpisodeView

#: Columns of the table before and after the seconds of each stage.
_BEFORE: Final = ("dataset", "episode", "format", "pipeline", "state", "attempts")
_AFTER: Final = (
    *("work_s", "elapsed_s", "files", "bytes", "began_at", "ready_at", "failed_stage", "code", "message"),
    "found_at",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One episode. `stages`: seconds of each stage that is done; `elapsed_s`: from the last claim to `ready`.

    `found_at`: the destinations that had it, so that nothing was made here. Times in Unix seconds; `files` and `bytes`
    are those of its artifacts. What is not known is None.
    """

    dataset: str
    episode: str
    format: str
    pipeline: str
    state: str
    attempts: int
    stages: dict[str, float] = field(default_factory=dict)
    elapsed_s: float | None = None
    files: int = 0
    bytes: int = 0
    began_at: float | None = None
    ready_at: float | None = None
    failed_stage: str | None = None
    code: str | None = None
    message: str | None = None
    found_at: str | None = None

    @property
    def work_s(self) -> float:
        """Seconds in all stages."""
        return round(sum(self.stages.values()), 3)

    def values(self, stages: Sequence[str]) -> list[Any]:
        """In the order of `columns`."""
        timings = [self.stages.get(stage) for stage in stages]
        return [getattr(self, name) for name in _BEFORE] + timings + [getattr(self, name) for name in _AFTER]


def columns(stages: Sequence[str]) -> list[str]:
    """The names of a row's values."""
    return [*_BEFORE, *(f"{stage}_s" for stage in stages), *_AFTER]


def rows(datasets: Iterable[DatasetView]) -> Iterator[Row]:
    """One for each episode, in the order of the scan."""
    for dataset in datasets:
        for episode in dataset.episodes:
            yield _row(dataset, episode)


def _row(dataset: DatasetView, episode: EpisodeView) -> Row:
    control, markers = episode.control, episode.markers
    records = [record for _, record in checkpoint.read_all(control, sorted(markers.stages_done))]
    ready = (read_json(control.path / "ready") or {}) if markers.ready else {}
    claim = (read_json(control.claim(markers.generation)) or {}) if markers.generation else {}
    failure = control.failure(markers) or {}
    began, ended = claim.get("at"), ready.get("at")
    return Row(
        dataset=str(dataset.root),
        episode=episode.id,
        format=dataset.format.name,
        pipeline=ready.get("pipeline") or claim.get("pipeline") or dataset.drop.pipeline,
        state=str(episode.state),
        attempts=markers.generation,
        stages={record.processor: record.seconds for record in sorted(records, key=lambda record: record.at)},
        elapsed_s=round(ended - began, 3) if began and ended and _made_here(ready, markers.generation) else None,
        files=sum(len(record.outputs) for record in records),
        bytes=sum(output.size for record in records for output in record.outputs),
        began_at=began,
        ready_at=ended,
        failed_stage=failure.get("stage"),
        code=failure.get("code"),
        message=failure.get("message"),
        found_at=" ".join(ready["found"]) if ready.get("found") else None,
    )


def _made_here(ready: Mapping[str, Any], generation: int) -> bool:
    return ready.get("gen") == generation and not ready.get("found")


def stages_in(found: Iterable[Row]) -> list[str]:
    """Every stage that an episode has been through, in the order in which they were met."""
    return list(dict.fromkeys(stage for row in found for stage in row.stages))


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of `count` episodes."""

    name: str
    count: int
    median: float
    p95: float
    longest: float
    total: float


def timings(found: Sequence[Row]) -> list[Timing]:
    """Of each stage, and from claim to ready."""
    named = {stage: [row.stages[stage] for row in found if stage in row.stages] for stage in stages_in(found)}
    named["claim to ready"] = [row.elapsed_s for row in found if row.elapsed_s is not None]
    return [_timing(name, sorted(values)) for name, values in named.items() if values]


def _timing(name: str, values: list[float]) -> Timing:
    at_95 = values[min(len(values) - 1, int(0.95 * len(values)))]
    return Timing(name, len(values), statistics.median(values), at_95, values[-1], sum(values))


def failures(found: Iterable[Row]) -> list[tuple[str, int]]:
    """How many episodes failed or wait, by code, the most frequent first."""
    return Counter(row.code for row in found if row.code).most_common()


def per_hour(found: Sequence[Row]) -> float | None:
    """Episodes that became ready per hour, from the first claim to the last `ready`; None for fewer than two.

    Those that were found ready at their destinations are not counted.
    """
    made = [row for row in found if not row.found_at]
    ready = [(row.began_at, row.ready_at) for row in made if row.ready_at is not None and row.began_at is not None]
    if len(ready) < 2:
        return None
    span = max(ended for _, ended in ready) - min(began for began, _ in ready)
    return 3600 * len(ready) / span if span > 0 else None
