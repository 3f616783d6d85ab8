"""Give a finished artifact its public name, and decide what may make way for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from . import checkpoint, fsio
from .checkpoint import Output
from .errors import ClaimLostError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from episoded.processors.base import Artifact

    from .control import ControlDir

log = structlog.get_logger()


def publish_artifact(control: ControlDir, generation: int, stage: str, artifact: Artifact, root: Path) -> Output:
    """Link a verified artifact to its target below `root`, durably, and say what was published.

    The digest is taken by reading the file back. What lies at the target without a checkpoint is not trusted: a file
    of ours that lost its checkpoint is removed, anybody else's is set aside in the control directory and kept.
    """
    target = root / artifact.target
    digest, size = checkpoint.sha256(artifact.path), artifact.path.stat().st_size
    if artifact.path != target:
        fsio.make_dirs(target.parent, below=root)
        if target.exists():
            _make_way(control, generation, stage, artifact, target)
        try:
            fsio.publish_file(artifact.path, target)
        except FileExistsError as error:
            raise ClaimLostError("claim_lost", f"{target} appeared while it was being made", "") from error
    return Output(str(artifact.target), size, digest, dict(artifact.facts))


def _make_way(control: ControlDir, generation: int, stage: str, artifact: Artifact, target: Path) -> None:
    if _is_ours(control, stage, artifact, target):
        fsio.remove(target)
        return
    keep = control.path / "aside" / f"g{generation:06d}-{str(artifact.target).replace('/', '__')}.kept"
    fsio.make_dirs(keep.parent, below=control.path)
    fsio.set_aside(target, keep)
    log.warning("set_aside", file=str(target), kept=str(keep), reason="it was there before us, without a checkpoint")


def _is_ours(control: ControlDir, stage: str, artifact: Artifact, target: Path) -> bool:
    """Whether we made the file at `target`: linked by a generation that died, or listed in a superseded checkpoint."""
    status = target.stat()
    if any((made.st_dev, made.st_ino) == (status.st_dev, status.st_ino) for made in _scratch_files(control)):
        return True
    digest = checkpoint.sha256(target)
    return any(
        (output.path, output.sha256) == (str(artifact.target), digest)
        for record in checkpoint.superseded(control, stage)
        for output in record.outputs
    )


def _scratch_files(control: ControlDir) -> Iterator[os.stat_result]:
    for path in control.path.glob("g[0-9]*/**/*"):
        if path.is_file():
            yield path.stat()
