"""Give finished artifacts their public names, decide what may make way for them, and edit what episodes share."""

from __future__ import annotations

import errno
import filecmp
import itertools
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from . import checkpoint, fsio
from .checkpoint import Output
from .control import CONTROL
from .errors import ClaimLostError, EpisodedError, RetryableError
from .locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from episoded.processors.base import Artifact, Edit

    from .control import ControlDir

#: How often an edit is derived anew because a recorder wrote the file meanwhile.
EDIT_TRIES: Final = 10

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
        if os.path.lexists(target):
            _make_way(control, generation, stage, artifact, target)
        _link_into_place(artifact.path, target)
    return Output(str(artifact.target), size, digest, dict(artifact.facts))


def apply_edit(output: Path, edit: Edit) -> bool:
    """Bring one dataset-level file up to date under the dataset lock; True when its content changed."""
    path = output / edit.target
    with locked(output / CONTROL / "lock"):
        with suppress(FileNotFoundError):
            fsio.sweep_temps(path.parent)
        for _ in range(EDIT_TRIES):
            current = fsio.read_or_none(path)
            new = edit.derive(current)
            if new is None or new == current:
                return False
            fsio.make_dirs(path.parent, below=output)
            if edit.keep is not None and current is not None:
                _keep(path, output / edit.keep, output)
            if fsio.replace(path, new, expected=current):
                return True
    raise RetryableError(
        "file_contended",
        f"{path} was written again and again while it was being brought up to date",
        "a recorder is at work on this dataset; the episode is tried again by itself",
    )


def _keep(path: Path, name: Path, output: Path) -> None:
    """Give a file that will be replaced a second name: `name` or, where another has it, `name-1`, ...

    The file itself, not a copy: who has it open for writing writes on into what is kept. Where a file of another user
    cannot be linked, a copy is all there can be. The caller holds the dataset lock.
    """
    fsio.make_dirs(name.parent, below=output)
    names = itertools.chain([name], (name.with_name(f"{name.name}-{number}") for number in itertools.count(1)))
    kept = next(name for name in names if not os.path.lexists(name) or filecmp.cmp(path, name, shallow=False))
    if os.path.lexists(kept):
        return
    try:
        fsio.publish_file(path, kept)
    except PermissionError:
        fsio.publish(kept, path.read_bytes())


def discard_unpublished(scratch: Path) -> None:
    """Empty a private folder of everything that has no public name, and remove it when nothing is left in it.

    Half-made videos must not pile up over attempts on a disk that is full already. What is linked to a public name
    costs no space, and proves to `_is_ours` that a file without a checkpoint was made by us.
    """
    for path in sorted(scratch.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_symlink() or (path.is_file() and path.stat().st_nlink == 1):
            fsio.remove(path)
        elif path.is_dir():
            _remove_if_empty(path)
    _remove_if_empty(scratch)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _link_into_place(source: Path, target: Path) -> None:
    try:
        fsio.publish_file(source, target)
    except FileExistsError as error:
        raise ClaimLostError("claim_lost", f"{target} appeared while it was being made", "") from error
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise EpisodedError(
            "other_filesystem",
            f"{target.parent} lies on another filesystem than the dataset's {CONTROL} folder",
            "finished files are linked into place: keep a dataset on one filesystem, without mounts or symlinks in it",
        ) from error


def _make_way(control: ControlDir, generation: int, stage: str, artifact: Artifact, target: Path) -> None:
    if _is_ours(control, stage, artifact, target):
        fsio.remove(target)
        return
    keep = control.path / "aside" / f"g{generation:06d}-{str(artifact.target).replace('/', '__')}.kept"
    fsio.make_dirs(keep.parent, below=control.path)
    kept = fsio.set_aside(target, keep)
    log.warning("set_aside", file=str(target), kept=str(kept), reason="it was there before us, without a checkpoint")


def _is_ours(control: ControlDir, stage: str, artifact: Artifact, target: Path) -> bool:
    """Whether we made the file at `target`: linked by a generation that died, or listed in a superseded checkpoint."""
    status = target.lstat()
    if not stat.S_ISREG(status.st_mode):
        return False
    if any((made.st_dev, made.st_ino) == (status.st_dev, status.st_ino) for made in _scratch_files(control)):
        return True
    digest = checkpoint.sha256(target)
    return any(
        (output.path, output.sha256) == (str(artifact.target), digest)
        for record in checkpoint.superseded(control, stage)
        for output in record.outputs
    )


def _scratch_files(control: ControlDir) -> Iterator[os.stat_result]:
    for scratch in control.scratches():
        for path in scratch.rglob("*"):
            if path.is_file():
                yield path.stat()
