"""Which episodes of a dataset can be converted now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from episoded.processors.lerobot.dataset import Dataset, EpisodeEntry


def finished_episodes(
    dataset: Dataset, ready: Callable[[int], bool] | None
) -> tuple[list[EpisodeEntry], list[tuple[str, str]]]:
    """The episodes from 0 on that can be converted; and (episode, why) of the first that cannot, and of those after it.

    In both versions LeRobot counts on indices without a gap. `ready(index)` may object to an episode.
    """
    entries = {entry.index: entry for entry in dataset.episodes}
    found: list[EpisodeEntry] = []
    for index in range(max(entries, default=-1) + 1):
        if why := _why_not(dataset, entries.get(index), index, ready):
            left = [(f"episode_{index:06d}", why)]
            if after := sum(other > index for other in entries):
                left.append((f"{after} more", f"they come after episode_{index:06d}"))
            return found, left
        found.append(entries[index])
    return found, []


def _why_not(dataset: Dataset, entry: EpisodeEntry | None, index: int, ready: Callable[[int], bool] | None) -> str:
    if entry is None:
        return "is not in the metadata: LeRobot wants the indices without a gap; `episoded repair` closes it"
    if ready is not None and not ready(index):
        return "is not ready yet"
    if not (dataset.root / entry.table).is_file():
        return f"its table {entry.table} is missing"
    for camera in dataset.cameras:
        span = entry.videos.get(camera.key)
        if span is None or not (dataset.root / span.file).is_file():
            return f"{camera.key} has no video yet: `episoded process` makes it from the frames"
    return ""
