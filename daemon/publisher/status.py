"""Destinations as a snapshot shows them: from markers and a few small files, and from what the service says."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from ..snapshot import Blocked, Destination, Moving
from . import desk, receipts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config import Config
    from ..scan import DatasetView, DropView, EpisodeView
    from ..service_file import ServiceReport
    from .settings import DestinationConfig

#: Episodes named for each reason; the count says how many there are.
EXAMPLES: Final = 5


def destinations(config: Config, views: Iterable[DropView], report: ServiceReport | None) -> tuple[Destination, ...]:
    """Every destination that a pipeline of the configuration names, or that has receipts of what was looked at."""
    waiting, published, found = Counter[str](), Counter[str](), Counter[str]()
    blocked: dict[str, list[tuple[DatasetView, EpisodeView]]] = defaultdict(list)
    for dataset, episode in _ready(views):
        aims = config.pipelines[dataset.drop.pipeline].destinations
        published.update(episode.markers.receipts)
        found.update(episode.markers.receipts if episode.markers.found else ())
        waiting.update(name for name in aims if name not in episode.markers.receipts | episode.markers.blocked)
        for name in episode.markers.blocked:
            blocked[name].append((dataset, episode))
    used = {name for pipeline in config.pipelines.values() for name in pipeline.destinations}
    said = report.destinations if report else {}
    return tuple(
        _destination(one, config, (waiting[name], published[name], found[name]), blocked[name], said.get(name, {}))
        for name, one in config.destinations.items()
        if name in used or published[name] or blocked[name]
    )


def _destination(
    one: DestinationConfig,
    config: Config,
    counts: tuple[int, int, int],
    blocked: list[tuple[DatasetView, EpisodeView]],
    said: dict[str, Any],
) -> Destination:
    waiting, published, found = counts
    last, moving, trouble = said.get("last") or {}, said.get("moving"), said.get("trouble")
    known = desk.blocked(config.service.state_dir, one.name)
    whole = [Blocked(known["code"], known["message"], known["hint"])] if known else []
    return Destination(
        name=one.name,
        kind=one.kind,
        place=one.params.template,
        waiting=waiting,
        published=published,
        found=found,
        blocked=(*whole, *_by_reason(one.name, blocked)),
        doing=said.get("doing"),
        moving=Moving(**moving) if moving else None,
        last_commit=last.get("commit"),
        last_commit_at=last.get("at"),
        offline_since=said.get("offline_since"),
        trouble=trouble["message"] if trouble else None,
        again_in_s=said.get("again_in_s"),
    )


def _by_reason(name: str, blocked: list[tuple[DatasetView, EpisodeView]]) -> Iterator[Blocked]:
    by_code: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for dataset, episode in blocked:
        told = receipts.read_block(episode.control, name)
        by_code[str(told.get("code", "unknown"))].append((f"{dataset.root.name}/{episode.id}", told))
    for code, alike in by_code.items():
        first = alike[0][1]
        names = tuple(episode for episode, _ in alike[:EXAMPLES])
        yield Blocked(code, str(first.get("message", "")), str(first.get("hint", "")), len(alike), names)


def _ready(views: Iterable[DropView]) -> Iterator[tuple[DatasetView, EpisodeView]]:
    for view in views:
        for dataset in view.datasets:
            for episode in dataset.episodes:
                if episode.markers.ready:
                    yield dataset, episode
