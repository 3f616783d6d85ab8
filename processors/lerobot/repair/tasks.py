"""Tasks, from what the tables say of their rows and the list of episodes of their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import EpisodedError
from ...formats.lerobot_table import opened
from .truth import task_indices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..dataset import Dataset
    from .truth import Numbered


def known_tasks(dataset: Dataset, episodes: Sequence[Numbered]) -> dict[int, str] | None:
    """Task index -> text, as episodes with one task of one text show it; None where they contradict or leave gaps."""
    found: dict[int, str] = {}
    seen: set[int] = set()
    for episode in episodes:
        try:
            with opened(dataset.root / episode.entry.table) as parquet:
                indices = task_indices(parquet)
        except EpisodedError:
            return None
        seen |= set(indices)
        texts = episode.entry.tasks
        if len(indices) == len(texts) == 1 and found.setdefault(indices[0], texts[0]) != texts[0]:
            return None
    whole = set(found) == seen and sorted(found) == [*range(len(found))]
    return dict(sorted(found.items())) if found and whole else None


def texts_of(indices: Sequence[int], tasks: Mapping[int, str], recorded: Sequence[str]) -> list[str]:
    """The texts of an episode: as its entry has them where its rows have the same tasks, else those of its rows."""
    texts = [tasks[index] for index in indices if index in tasks]
    return [*recorded] if not texts or set(texts) == set(recorded) else texts
