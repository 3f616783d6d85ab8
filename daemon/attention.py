"""Which folders deserve one of the few watches: where something is going on, most likely first.

Never a folder of frames: a session writes thousands of files there, and none of them changes a decision.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from .control import CONTROL
from .state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .scan import DatasetView, DropView

#: Finished datasets that may grow again: a recorder that is slower than we are finishes its session episode by episode,
#: and between two of them nothing is left to do. Unwatched, each next one was found by the rescan, 30 s later.
RECENTLY_FINISHED: Final = 16


def worth_watching(views: Iterable[DropView]) -> Iterator[Path]:
    """Folders in the order of their worth; what there is no watch for is found by the rescan."""
    views = tuple(views)
    datasets = [dataset for view in views for dataset in view.datasets]
    unfinished = [dataset for dataset in datasets if not (dataset.finished and dataset.episodes)]
    finished = [dataset for dataset in datasets if dataset.finished and dataset.episodes]
    yield from (view.drop.path for view in views)
    for dataset in unfinished:
        if dataset.root.is_dir():  # of a video by itself the folder around it tells
            yield dataset.root
        yield from _where_it_grows(dataset)
    yield from (stranger for view in views for stranger, _ in view.strangers if stranger.is_dir())
    for dataset in heapq.nlargest(RECENTLY_FINISHED, finished, key=_touched_ns):
        yield from _where_it_grows(dataset)
    for dataset in unfinished:
        for episode in dataset.episodes:
            if episode.visited and episode.state is State.ARRIVING:
                yield episode.control.path
                yield dataset.root / CONTROL / episode.id


def _where_it_grows(dataset: DatasetView) -> Iterator[Path]:
    """Where a new episode shows: its line in the metadata, its folder, its marker."""
    yield from dataset.format.places(dataset.root)
    yield dataset.root / CONTROL
    yield dataset.output / CONTROL


def _touched_ns(dataset: DatasetView) -> int:
    """When an episode of it was last begun."""
    try:
        return (dataset.output / CONTROL).stat().st_mtime_ns
    except OSError:
        return 0
