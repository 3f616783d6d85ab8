"""A plan of `processors.lerobot.repair` carried out on a dataset that nobody else works on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from episoded.processors.lerobot.repair import Move, Plan, Retire, Write, plan_repair

from . import transaction
from .control import CONTROL
from .errors import EpisodedError, NotAvailableError
from .transaction import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from episoded.processors.lerobot.findings import Finding
    from episoded.processors.lerobot.repair import Change

    from .transaction import Transaction

#: Name -> what tells a file from what it was.
Signatures = dict[str, tuple[int, int, int]]

#: A dataset without info.json gets one first; what else is wrong with it shows only then.
_PASSES = 3


def plan(root: Path, *, deep: bool, progress: Callable[[int, int], None]) -> Plan:
    """What a repair would do. Raises NotAvailableError (`repair_unfinished`) before an earlier one is finished."""
    if (left := transaction.unfinished(root)) is not None:
        raise NotAvailableError(
            "repair_unfinished", f"repair {left.number} of {root} was not finished", "`episoded repair` finishes it"
        )
    return plan_repair(root, deep=deep, progress=progress)


def repair(
    root: Path, *, deep: bool, planned: Callable[[Plan], None], progress: Callable[[int, int], None]
) -> list[Transaction]:
    """Mend the dataset at `root`; `planned(plan)` hears of every plan before it is carried out.

    A repair that died in the middle is finished first. Raises NotAvailableError: `claimed` (an episode is being worked
    on), `being_repaired`, `recorder_writing`; EpisodedError: `changed_meanwhile`, `repair_stuck`, and what the system
    refuses. Whatever is raised before the plan is carried out, nothing has been changed.
    """
    done: list[Transaction] = []
    tried: set[Finding] = set()
    with transaction.exclusive(root):
        if (left := transaction.unfinished(root)) is not None:
            left.carry_out()
            done.append(left)
        for _ in range(_PASSES):
            check_unwritten(root)
            before = _signatures(root)
            next_plan = plan_repair(root, deep=deep, progress=progress)
            planned(next_plan)
            if not next_plan.changes or set(next_plan.mended) <= tried:
                break  # what a plan has not mended it will not mend the second time
            tried |= set(next_plan.mended)
            done.append(_carry_out(root, next_plan, before))
    return done


def _carry_out(root: Path, plan: Plan, before: Signatures) -> Transaction:
    work = transaction.next_one(root)
    try:
        work.begin()
        steps = [_step(change, work.made / f"{number:06d}") for number, change in enumerate(plan.changes)]
        check_unwritten(root)
        if changed := _difference(before, _signatures(root)):
            raise EpisodedError(
                "changed_meanwhile",
                f"{root / changed} was written while the repair was being prepared; nothing was changed",
                "wait until the recording or upload has ended, then repair",
            )
        work.commit(steps)
    except BaseException:
        work.abandon()
        raise
    return work


def _step(change: Change, made: Path) -> Step:
    match change:
        case Write(target, make, _):
            make(made)
            return Step(target=str(target), made=made.name)
        case Move(source, target, _):
            return Step(target=str(target), source=str(source))
        case Retire(source, _):
            return Step(source=str(source))


def check_unwritten(root: Path) -> None:
    """Raise NotAvailableError (`recorder_writing`) while a process on this machine has a file of it open for writing.

    The kernel shows the processes of other users to root only, and those of other machines to nobody.
    """
    place = os.path.realpath(root)
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names only
        if int(pid) != os.getpid() and (name := next(_written_by(pid, place), None)):
            raise NotAvailableError(
                "recorder_writing",
                f"process {pid} is writing {name}",
                "wait until the recording or upload has ended, then repair",
            )


def _written_by(pid: str, place: str) -> Iterator[str]:
    folder = Path("/proc", pid)
    try:
        for link in (folder / "fd").iterdir():
            name = os.readlink(link)  # noqa: PTH115 - the text, whatever it is
            if name.startswith(f"{place}/") and f"/{CONTROL}/" not in name:
                flags = (folder / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
                    yield name
    except OSError:
        return  # it ended, or is not ours to look into


def _signatures(root: Path) -> Signatures:
    """Of every file but the frames, and of the folders of frames, whose mtime moves with each new one."""
    found: Signatures = {}
    for folder, folders, files in os.walk(root):
        below = Path(folder).relative_to(root).parts
        folders[:] = [name for name in folders if not (not below and name in (CONTROL, ".git", ".cache"))]
        names = files if below[:1] != ("images",) else []
        for name in [*names, *([""] if below[:1] == ("images",) else [])]:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            found[str(path.relative_to(root))] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _difference(before: Signatures, after: Signatures) -> str | None:
    """A name that has changed, come or gone."""
    names = (name for name in {**before, **after} if before.get(name) != after.get(name))
    return min(names, default=None)
