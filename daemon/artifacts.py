"""Whether the artifacts of finished episodes are still what was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import checkpoint
from .control import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scan import DatasetView, EpisodeView


@dataclass(frozen=True, slots=True)
class Verified:
    """What re-reading the artifacts of one episode found; `damage` empty: all as published.

    `pipeline`: the one that it went through.
    """

    dataset: str
    episode: str
    state: str
    artifacts: int
    bytes: int
    damage: tuple[str, ...]
    frames_left: bool
    pipeline: str


def verify(dataset: DatasetView) -> Iterator[Verified]:
    """Read the artifacts of every episode of which a stage is done, and compare them with its checkpoints."""
    for episode in dataset.episodes:
        if episode.markers.stages_done:
            yield _verify(dataset, episode)


def _verify(dataset: DatasetView, episode: EpisodeView) -> Verified:
    damage: list[str] = []
    count = total = 0
    for stage, record in checkpoint.read_all(episode.control, sorted(episode.markers.stages_done)):
        count, total = count + len(record.outputs), total + sum(output.size for output in record.outputs)
        damage += [f"{stage}: {line}" for line in checkpoint.damage(record, dataset.output)]
    state, name = str(episode.state), str(dataset.root)
    ready = (read_json(episode.control.path / "ready") or {}) if episode.markers.ready else {}
    pipeline = ready.get("pipeline", dataset.drop.pipeline)
    return Verified(name, episode.id, state, count, total, tuple(damage), not episode.markers.cleaned, pipeline)
