"""The contract between the chain and a stage.

A processor streams: it never holds all frames of an episode, and closes every container it opens. It raises
`InputError` (the data is wrong), `RetryableError` (the machine was in the way) or `Cancelled`, and nothing else on
purpose. It does not retry, sleep, or know about markers; it writes below `StageContext.scratch` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from pydantic import BaseModel
    from structlog.typing import FilteringBoundLogger

    from .episode import Episode


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage asks of the slot that runs it: a GPU or not, and an estimate of its peak memory in bytes."""

    gpu: bool = False
    memory: int = 400 << 20


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a stage that can be resumed on its own (a camera, a window segment).

    `name` is unique within the stage and a valid file name. `inputs` are the files that its result depends on: a
    checkpoint of the unit is fresh only while they are as they were.
    """

    name: str
    inputs: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a stage made, and where it belongs.

    `path` is the finished file in the scratch folder (or the file at its target, when the stage found it there and
    verified it). `target` is relative to `Episode.output`. `facts` are JSON values that the checkpoint keeps with it:
    what was measured on the way, for later stages and for people.
    """

    path: Path
    target: PurePosixPath
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to a dataset-level file that its format demands in place (`meta/info.json` and the like).

    `derive(current)` gives the new content from the current one (None: absent). It probes what is published, so that
    applying it twice, or after a recorder has written the file again, gives the same. The chain applies it under the
    dataset lock. `keep`: what is replaced is kept under this name too, itself and not a copy: a recorder that still
    holds it open writes on into what is kept.
    """

    target: PurePosixPath
    derive: Callable[[bytes | None], bytes | None]
    keep: PurePosixPath | None = None


class Parts(Protocol):
    """Finished pieces of a long unit that outlive a killed attempt: what is kept need not be made again.

    They are kept for the same unit made with the same version, settings and input files, and go when it is done.
    """

    def path(self, name: str) -> Path | None:
        """Where the piece called `name` lies; None when it is not kept."""

    def keep(self, file: Path, name: str) -> Path:
        """Keep a finished, closed file of the scratch folder, durably, and say where it lies now."""


def _unseen(done: int, total: int) -> None:
    """Progress that nobody watches: the library use without a daemon."""


def _never() -> bool:
    """Work that nobody can cancel."""
    return False


@dataclass(frozen=True)
class StageContext:
    """What a processor is given besides the unit.

    `scratch`: private folder, on the filesystem of `episode.output`. `params`: the stage's settings. `threads`: CPU
    threads it may keep busy. `progress(done, total)`: call it often, it is throttled. `cancelled()`: ask once a frame.
    `earlier`: artifacts of the earlier stages of this episode, by stage name. `devices`: what a stage that needs a GPU
    may compute on, "cpu" or "cuda:N" each. `parts`: for pieces that outlive a killed attempt; None: nothing does.
    """

    episode: Episode
    scratch: Path
    params: BaseModel
    log: FilteringBoundLogger
    progress: Callable[[int, int], None] = _unseen
    cancelled: Callable[[], bool] = _never
    earlier: Mapping[str, Sequence[Artifact]] = field(default_factory=dict)
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    parts: Parts | None = None

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the work was asked to stop."""
        if self.cancelled():
            raise Cancelled


class Processor(Protocol):
    """One stage of the chain.

    `version` is raised when the same input and parameters give different results: checkpoints of other versions are
    not fresh. `Params` is the pydantic model of its settings, a table of the pipeline in config.toml.
    """

    name: str
    version: int
    needs: Needs
    Params: type[BaseModel]

    def applies(self, episode: Episode) -> bool:
        """Whether this episode has anything for the stage to do."""

    def units(self, episode: Episode, params: BaseModel) -> Sequence[Unit]:
        """The parts of the work, in order. The same episode and params give the same units."""

    def run(self, unit: Unit, ctx: StageContext) -> Sequence[Artifact | Edit]:
        """Do one unit: finished, closed files in the scratch folder, or edits to dataset-level files."""
