"""From what a scan saw to what the chain works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import fsio
from .chain import Work

if TYPE_CHECKING:
    from .attempts import AttemptPolicy
    from .config import Pipeline
    from .scan import DatasetView


def work_for(
    dataset: DatasetView,
    episode_id: str,
    pipeline: Pipeline,
    policy: AttemptPolicy,
    threads: int = 1,
    lapsed: int = 0,
    devices: tuple[str, ...] = ("cpu",),
) -> Work:
    """The work on one episode of a dataset."""
    name = dataset.format.name
    return Work(dataset.root, dataset.output, episode_id, name, pipeline, policy, threads, lapsed, devices)


def prepare_output(dataset: DatasetView) -> None:
    """Make the output root of a dataset that is not finished in place. Never makes the dataset itself."""
    if dataset.output != dataset.root:
        fsio.make_dirs(dataset.output, below=dataset.drop.output or dataset.drop.path)
