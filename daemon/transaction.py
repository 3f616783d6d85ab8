"""Many files of a dataset changed as one: a journal, then steps that can each be done twice.

    .episoded/repairing              flock-ed by the living repair; no episode of the dataset is claimed meanwhile
    .episoded/repair/000001/made/    new contents, complete before the journal is
                           kept/     what was replaced or taken away, under its own path with `.kept` behind it
                           held/     what gets another name, on its way
                           journal   the steps; from here on the repair is carried out, whatever happens
                           taken     everything has been kept or held
                           done

Killed before `journal`, nothing of the dataset was touched. Killed after it, the next repair carries it out to its end.
In between LeRobot finds files missing, and never a file of one episode under the name of another: all names are
cleared before the first is given anew.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import fsio, relocate
from .claim import Leases
from .control import CONTROL, REPAIRING, SCHEMA, ControlDir, read_json, to_json
from .crashpoints import crashpoint
from .errors import NotAvailableError
from .locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_REPAIRS: Final = "repair"


@dataclass(frozen=True, slots=True)
class Step:
    """One change, by paths relative to the dataset.

    `made`: a file in `made/` that becomes `target`, in the place of what is there. Otherwise `source` becomes `target`,
    or, without one, goes to `kept/`.
    """

    target: str | None = None
    made: str | None = None
    source: str | None = None

    @property
    def removed(self) -> str | None:
        """The path that is empty once everything has been taken."""
        return None if self.made else self.source


@dataclass(frozen=True, slots=True)
class Transaction:
    """One numbered repair of a dataset."""

    root: Path
    number: int

    @property
    def folder(self) -> Path:
        """Where it keeps everything."""
        return self.root / CONTROL / _REPAIRS / f"{self.number:06d}"

    @property
    def made(self) -> Path:
        """Where new contents are written."""
        return self.folder / "made"

    def begin(self) -> None:
        """Make the folders; what an earlier try left half-made is removed. The journal must not exist yet."""
        fsio.remove_tree(self.made)
        for name in ("made", "kept", "held"):
            fsio.make_dirs(self.folder / name, below=self.root)

    def abandon(self) -> None:
        """Remove what was made, where no journal says that it is to be carried out."""
        if not (self.folder / "journal").exists():
            fsio.remove_tree(self.folder)
            fsio.remove_empty_dirs(self.folder.parent, self.root / CONTROL)

    def commit(self, steps: Sequence[Step]) -> None:
        """Write the journal, and carry it out."""
        for step in steps:
            if step.made:
                fsio.sync_file(self.made / step.made)
        fsio.sync_dir(self.made)
        crashpoint("transaction:made")
        fsio.publish(self.folder / "journal", to_json({"schema": SCHEMA, "steps": [_as_json(step) for step in steps]}))
        self.carry_out()

    def carry_out(self) -> None:
        """Do what the journal says, as far as it has not been done. Raises EpisodedError (`repair_stuck`)."""
        steps = [Step(**step) for step in (read_json(self.folder / "journal") or {})["steps"]]
        with locked(self.root / CONTROL / "lock"):
            if not (self.folder / "taken").exists():
                self._take(steps)
                fsio.publish(self.folder / "taken", b"")
            self._put(steps)
            fsio.publish(self.folder / "done", b"")
        fsio.remove_tree(self.made)
        fsio.remove_tree(self.folder / "held")

    def _take(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            if step.made and step.target:
                relocate.keep(self.root / step.target, self._kept(step.target))
            elif step.source and step.target is None:
                relocate.take(self.root / step.source, self._kept(step.source))
            elif step.source:
                relocate.take(self.root / step.source, self.folder / "held" / f"{number:06d}")

    def _put(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            if step.target is None:
                continue
            target = self.root / step.target
            fsio.make_dirs(target.parent, below=self.root)
            relocate.put(self.made / step.made if step.made else self.folder / "held" / f"{number:06d}", target)
        for step in steps:
            if step.removed:
                fsio.remove_empty_dirs((self.root / step.removed).parent, self.root)

    def _kept(self, path: str) -> Path:
        kept = self.folder / "kept" / f"{path}.kept"
        fsio.make_dirs(kept.parent, below=self.root)
        return kept


def unfinished(root: Path) -> Transaction | None:
    """The repair of this dataset that has a journal and was not carried out to its end."""
    for folder in sorted((root / CONTROL / _REPAIRS).glob("[0-9]*")):
        if (folder / "journal").exists() and not (folder / "done").exists():
            return Transaction(root, int(folder.name))
    return None


def next_one(root: Path) -> Transaction:
    """The transaction with the next free number; one that never got a journal is begun anew."""
    numbers = [int(path.parent.name) for path in (root / CONTROL / _REPAIRS).glob("[0-9]*/journal")]
    return Transaction(root, max(numbers, default=0) + 1)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Have the dataset to ourselves: no other repair, and no episode claimed from now on.

    Raises NotAvailableError: `being_repaired`, `claimed`. A repair that dies leaves the marker behind while its journal
    is not carried out, so that nobody works on a dataset that is half moved.
    """
    is_first = not (root / CONTROL).is_dir()
    fsio.make_dirs(root / CONTROL, below=root)
    marker = root / CONTROL / REPAIRING
    fd = _lock(marker)
    try:
        check_unclaimed(root)
        yield
        if unfinished(root) is None:
            fsio.remove(marker)
    except BaseException:
        if unfinished(root) is None:
            fsio.remove(marker)
        raise
    finally:
        os.close(fd)
        if is_first:
            fsio.remove_empty_dirs(root / CONTROL, root)


def check_unclaimed(root: Path) -> None:
    """Raise NotAvailableError (`claimed`) while a process works on an episode of the dataset."""
    leases = Leases()
    for folder in sorted((root / CONTROL).glob("*/")):
        control = ControlDir(folder)
        markers = control.markers()
        if markers.generation and markers.outcome is None and leases.alive(control.claim(markers.generation)):
            raise NotAvailableError(
                "claimed",
                f"{folder.name} of {root} is being worked on",
                "wait for it (episoded status), or stop the service; then repair",
            )


def _lock(marker: Path) -> int:
    while True:
        fd = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.lexists(marker) and os.path.samestat(os.fstat(fd), marker.stat()):
                fsio.sync_dir(marker.parent)
                return fd
        except BlockingIOError:
            os.close(fd)
            what = f"{marker.parent.parent} is being repaired"
            raise NotAvailableError("being_repaired", what, "wait for it") from None
        os.close(fd)  # removed between our open and our lock


def _as_json(step: Step) -> dict[str, Any]:
    return {"target": step.target, "made": step.made, "source": step.source}
