"""One view of any LeRobot dataset: v2.0, v2.1 or v3.0 on disk, the same nouns in memory.

`read_dataset` reads the metadata and nothing else: where the rows and pictures of each episode lie, not what they
hold. An episode costs a few hundred bytes, its statistics are read one after another when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import v21
from .findings import Problems
from .head import read_head, read_stats_file
from .v30 import reading as v30

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .dataset import Dataset, Stats
    from .findings import Finding


def read_dataset(root: Path, problems: list[Finding] | None = None) -> Dataset:
    """Read the metadata of the dataset at `root`.

    Raises InputError for the first thing that is wrong. With `problems` everything wrong is added to that list, and
    the rest is read as far as it makes sense; only an info.json of which nothing can be made is still raised
    (`meta_missing`, `meta_invalid`, `lfs_pointer`, `version_unsupported`).
    """
    report = Problems(root, problems)
    head = read_head(root, report)
    return v21.read(head, report) if head.version < (3, 0) else v30.read(head, report)


def read_episode_stats(dataset: Dataset, problems: list[Finding] | None = None) -> Iterator[tuple[int, Stats]]:
    """(episode index, statistics) in the order of the metadata, one at a time; v2.0 has none.

    Raises InputError for what cannot be read, unless `problems` collects it.
    """
    read = v21.episode_stats if dataset.version < (3, 0) else v30.episode_stats
    return read(dataset, Problems(dataset.root, problems))


def read_total_stats(dataset: Dataset, problems: list[Finding] | None = None) -> Stats | None:
    """`meta/stats.json` of v2.0 and v3.0; None where there is none. Raises InputError (`meta_invalid`)."""
    return read_stats_file(dataset.root, Problems(dataset.root, problems))
