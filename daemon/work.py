"""What the chain works on: one episode and how, made from what a scan saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from . import attempts, fsio
from .control import ControlDir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .attempts import AttemptPolicy
    from .config import Pipeline
    from .scan import DatasetView


@dataclass(frozen=True, slots=True)
class Work:
    """One episode to process, and how.

    `threads`: CPU threads it may keep busy. `lapsed`: the generation whose owner, on another machine, the scan saw
    silent for a whole lease. `devices`: what stages that need a GPU compute on ("cpu" where there is none); empty: they
    are left to a worker that has some.
    """

    root: Path
    output: Path
    episode_id: str
    format: str
    pipeline: Pipeline
    policy: attempts.AttemptPolicy = field(default_factory=attempts.AttemptPolicy)
    threads: int = 1
    lapsed: int = 0
    devices: tuple[str, ...] = ("cpu",)

    @property
    def control(self) -> ControlDir:
        """The episode's control directory."""
        return ControlDir.of(self.output, self.episode_id)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the process around the chain wants to hear and to say.

    `progress(stage, unit, done, total)`. `stop()`: 0 go on, 1 stop at the next unit, 2 stop now.
    """

    progress: Callable[[str, str, int, int], None] = lambda *_: None
    stop: Callable[[], int] = lambda: 0


#: Nobody listens, and nobody stops it.
UNHEARD: Final = Hooks()


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
