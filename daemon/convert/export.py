"""The export of a pipeline with `lerobot_version`: the service keeps a conversion up to date beside each dataset.

The markers decide: what is `ready`, from the first episode on without a gap, is exported. The job is idempotent, holds
the lock of the conversion, and may be killed or run twice; it writes nothing into the dataset itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from .place import beside

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from ..chain import Work
    from ..config import Config
    from ..jobs import Job
    from ..scan import DatasetView
    from ..supervisor import Ending

log = structlog.get_logger()

#: Seconds after which an export that failed is tried again; doubled each time, up to the cap.
RETRY_S: Final = 30.0
RETRY_CAP_S: Final = 3600.0
_TOLD_EVERY_S: Final = 0.5


@dataclass
class Exports:
    """Which datasets have more episodes ready than their export was made of. Forgets everything with the process.

    `done`: output root -> the episodes that the last export was begun for. `rest`: until when a failed one rests, and
    `failed`: why it failed.
    """

    config: Config
    clock: Callable[[], float]
    done: dict[Path, tuple[int, int]] = field(default_factory=dict)
    rest: dict[Path, tuple[float, float]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    def wants(self, dataset: DatasetView, busy: Collection[Path] = ()) -> bool:
        """Whether an export is due; it is taken for begun then. Its first episode stands for it among those `busy`."""
        pipeline = self.config.pipelines[dataset.drop.pipeline]
        if pipeline.lerobot_version is None or not dataset.format.name.startswith("lerobot"):
            return False
        if self.clock() < self.rest.get(dataset.output, (0.0, 0.0))[0]:
            return False
        now = _extent(dataset)
        if now[0] == 0 or dataset.episodes[0].control.path in busy or self.done.get(dataset.output) == now:
            return False
        self.done[dataset.output] = now
        return True

    def ended(self, ending: Ending) -> None:
        """An export that failed rests for a while, and is due again then."""
        output = ending.job.work.output
        if ending.ended == "exported":
            self.rest.pop(output, None)
            self.failed.pop(output, None)
            return
        pause_s = min(self.rest.get(output, (0.0, RETRY_S / 2))[1] * 2, RETRY_CAP_S)
        self.rest[output] = (self.clock() + pause_s, pause_s)
        self.done.pop(output, None)
        self.failed[output] = ending.reason or ending.ended

    def said(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Output root -> what is done about its export by these jobs, or why the last attempt came to nothing."""
        failed = {str(output): f"{why}; it is tried again by itself" for output, why in self.failed.items()}
        return failed | {str(job.work.output): "is brought up to date now" for job in jobs if job.kind == "export"}

    def due(self) -> list[float]:
        """When exports that failed have rested."""
        return [until for until, _ in self.rest.values()]


def _extent(dataset: DatasetView) -> tuple[int, int]:
    """(episodes that are ready, from the first on; sum of their generations): another pair when one was done anew."""
    count = generations = 0
    for episode in dataset.episodes:
        if not episode.markers.ready:
            break
        count, generations = count + 1, generations + episode.markers.generation
    return count, generations


def export(
    work: Work, stop: Callable[[], int] = lambda: 0, tell: Callable[[str, int, int], None] = lambda *_: None
) -> str:
    """Bring the export of the dataset of `work` up to date; says what came of it, in words.

    Raises as `convert`. `tell(unit, done, total)` hears about progress twice a second.
    """
    from episoded.processors.lerobot.reading import read_dataset

    from ..control import ControlDir
    from .conversion import convert
    from .result import Hooks

    version = work.pipeline.lerobot_version
    assert version is not None
    if read_dataset(work.output).version_name == version:
        return f"was received as {version}"
    last = 0.0

    def progress(unit: str, done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last > _TOLD_EVERY_S:
            last = now
            tell(unit, done, total)

    target = beside(work.output, version)
    result = convert(
        work.output,
        target,
        version,
        hooks=Hooks(progress, lambda: stop() > 0),
        ready=lambda index: ControlDir.of(work.output, f"episode_{index:06d}").markers().ready,
        threads=work.threads,
    )
    log.info("exported", dataset=str(work.root), output=str(target), episodes=result.episodes, made=result.made)
    if result.wrong:
        log.warning("export_wrong", output=str(target), found=result.wrong)
    return f"{target}: {result.to_version}, {result.episodes} episodes"
