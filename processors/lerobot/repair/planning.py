"""From findings to a plan: which files are made anew, and which findings nothing in the dataset can mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import EpisodedError
from ..dataset import read_dataset
from ..inspect import inspect_dataset
from .plan import Plan, Refusal
from .rebuild import rebuilt_info

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..inspect import Report


def _unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


def plan_repair(root: Path, *, deep: bool = False, progress: Callable[[int, int], None] = _unseen) -> Plan:
    """What would mend the dataset at `root`, as far as its own files tell how; changes nothing.

    `deep`: what shows only when every picture is decoded, too. A dataset without a usable info.json gets one first:
    what else is wrong shows only then, in a second plan. Raises EpisodedError for what the system refuses.
    """
    report = inspect_dataset(root, deep=deep, progress=progress)
    if report.version is None:
        return _first(root, report)
    from .mending import Mending

    return Mending(read_dataset(root, []), report.findings).plan()


def _first(root: Path, report: Report) -> Plan:
    """The plan for a dataset of which nothing can be read yet."""
    (finding,) = report.findings
    if finding.code not in ("meta_missing", "meta_invalid"):
        return Plan(root, (), (), (Refusal(finding, finding.kind.remedy),))
    try:
        change = rebuilt_info(root)
    except EpisodedError as error:
        return Plan(root, (), (), (Refusal(finding, f"no info.json can be made: {error.message}"),))
    return Plan(root, (change,), (finding,), ())
