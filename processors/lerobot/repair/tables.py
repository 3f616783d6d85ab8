"""Tables whose rows are written anew, as far as something says what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import rows
from .plan import Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from ..dataset import Dataset
    from ..findings import Finding
    from .mending import Mending
    from .plan import Change
    from .truth import Numbered

#: What a table's rows are written anew for.
_ROWS: Final = frozenset(
    {"frame_index", "episode_index", "row_index", "timestamps", "column_missing", "column_dangling"}
)


def mended_tables(mending: Mending) -> Iterator[Change]:
    """Changes to tables whose rows get other counters, and those of episodes that get another number."""
    flagged: dict[PurePosixPath, list[Finding]] = {}
    for finding in mending.finds(*_ROWS):
        if finding.file is not None and _can_be_mended(mending, finding):
            flagged.setdefault(finding.file, []).append(finding)
    for table, episodes in mending.numbering.tables().items():
        found = flagged.get(table, [])
        moved = any(episode.is_moved for episode in episodes)
        if not found and not moved and table not in mending.numbering.shifted:
            continue
        how = _how(mending, found)
        target = mending.numbering.table_of(episodes[0]) if moved else table
        mending.how[table] = how
        yield _table(mending.dataset, table, target, episodes, how, found)


def _table(
    dataset: Dataset,
    table: PurePosixPath,
    target: PurePosixPath,
    episodes: Sequence[Numbered],
    how: rows.Rewriting,
    found: Sequence[Finding],
) -> Write:
    root = dataset.root

    def make(path: Path) -> None:
        rows.rewrite(dataset, root / table, path, episodes, how)

    what = ", ".join(dict.fromkeys(finding.code for finding in found)) or "its place in the dataset has changed"
    return Write(target, make, f"rows with other counters: {what}")


def _how(mending: Mending, found: list[Finding]) -> rows.Rewriting:
    tasks = mending.dataset.tasks
    retimed = frozenset(
        finding.episode for finding in found if finding.code == "timestamps" and finding.episode is not None
    )
    dropped = frozenset(finding.camera for finding in found if finding.code == "column_dangling" and finding.camera)
    missing = any(finding.message == "no column `task_index`" for finding in found)
    only = next(iter(tasks), None) if missing and len(tasks) == 1 else None
    unordered = frozenset(
        finding.episode for finding in mending.refusals if finding.code == "frame_index" and finding.episode is not None
    )
    return rows.Rewriting(retimed=retimed, unordered=unordered, dropped=dropped, task=only)


def _can_be_mended(mending: Mending, finding: Finding) -> bool:
    reason = _why_not(mending.dataset, finding, mending.findings)
    if reason:
        mending.refuse(finding, reason)
    return not reason


def _why_not(dataset: Dataset, finding: Finding, findings: tuple[Finding, ...]) -> str:
    """Why the rows of a table are not written anew for this finding; empty where they can be."""
    here = {other.code for other in findings if other.file == finding.file and other.episode == finding.episode}
    absent = {
        other.message.split("`")[1]
        for other in findings
        if other.file == finding.file and other.code == "column_missing"
    }
    if finding.code == "column_missing":
        key = finding.message.split("`")[1]
        if key not in rows.COUNTERS:
            return f"nothing says what `{key}` was: restore the table from where it was recorded"
        if key == "task_index" and len(dataset.tasks) != 1:
            return f"there are {len(dataset.tasks)} tasks, and nothing says which rows have which"
    if finding.code == "row_index" and {"frame_index", "timestamps"} <= here:
        return "its frames are out of order: nothing says which rows belong where"
    if finding.code == "timestamps":
        if "frame_index" in here:
            return "the frames are not in order either: nothing says which rows belong where"
        videos = ("video_rate", "video_start", "video_timing", "video_drift", "video_short")
        if any(other.code in videos and other.episode == finding.episode for other in findings):
            return "its videos do not agree with frame / fps either: mend those first"
    if finding.code == "frame_index" and "timestamps" in here:
        return "its time stamps are out of order as well: nothing says which rows belong where"
    if finding.code == "frame_index" and "timestamp" in absent:
        return "it has no time stamps: nothing says which rows belong where"
    return ""
