"""The plan for one dataset: each file that findings lead to is written anew once, from everything that is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ...formats.lerobot_info import INFO
from . import rows, strays
from .meta_info import mended_info
from .numbering import Numbering
from .plan import Plan, Refusal, Write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

    from ..dataset import Dataset
    from ..findings import Finding
    from .plan import Change
    from .truth import Numbered

#: What a table's rows are written anew for.
_ROWS: Final = frozenset(
    {"frame_index", "episode_index", "row_index", "timestamps", "column_missing", "column_dangling"}
)
#: What keeps the pictures of a video from being seen.
_UNSEEN: Final = frozenset({"lfs_pointer", "video_empty", "video_unreadable", "video_undecodable", "video_short"})
_INFO: Final = frozenset(
    {
        "info_key",
        "total_episodes",
        "total_frames",
        "total_wrong",
        "splits_wrong",
        "column_undeclared",
        "column_shape",
        "video_size",
        "video_info",
    }
)


class Mending:
    """Collects changes; a finding is mended by one of them, or refused with the reason."""

    def __init__(self, dataset: Dataset, findings: tuple[Finding, ...]) -> None:
        self.dataset = dataset
        self.findings = findings
        self.changes: list[Change] = []
        self.refusals: dict[Finding, str] = {}
        self.numbering = Numbering(dataset, findings, self.refusals)
        self.how: dict[PurePosixPath, rows.Rewriting] = {}
        #: Findings about files whose whole content is made anew, whatever the catalogue says of such findings.
        self.made_anew: set[Finding] = set()

    def plan(self) -> Plan:
        """The whole plan."""
        self._refuse_the_unseen()
        self._rows()
        if self.dataset.version >= (3, 0):
            from .meta_v30 import mended_meta
        else:
            from .meta_v21 import mended_meta
        self.changes += mended_meta(self)
        self.changes += strays.mended(self.dataset, self.findings)
        if self.finds(*_INFO) or self.numbering.is_new:
            self.changes.append(self._info())
        for finding in self.findings:
            if not finding.kind.repairable and finding not in self.made_anew:
                self.refuse(finding, finding.kind.remedy)
        mended = tuple(finding for finding in self.findings if finding not in self.refusals)
        refused = tuple(Refusal(finding, reason) for finding, reason in self.refusals.items())
        return Plan(self.dataset.root, tuple(self.changes), mended, refused)

    def _refuse_the_unseen(self) -> None:
        """Statistics of a camera are reckoned from its video, if that can be seen."""
        entries = {entry.index: entry for entry in self.dataset.episodes}
        broken = {finding.file for finding in self.findings if finding.code in _UNSEEN}
        for finding in self.findings:
            entry = entries.get(finding.episode if finding.episode is not None else -1)
            if not finding.code.startswith("stats_") or finding.camera is None or entry is None:
                continue
            span = entry.videos.get(finding.camera)
            if span is None or span.file in broken or not (self.dataset.root / span.file).is_file():
                self.refuse(finding, "its pictures cannot be seen: mend its video first")

    def finds(self, *codes: str) -> list[Finding]:
        """The findings of these kinds that have not been refused."""
        return [finding for finding in self.findings if finding.code in codes and finding not in self.refusals]

    def refuse(self, finding: Finding, reason: str) -> None:
        """Leave a finding alone."""
        self.refusals.setdefault(finding, reason)

    def rewriting(self, table: PurePosixPath) -> rows.Rewriting:
        """How the rows of a table change; not at all unless something was found."""
        return self.how.get(table, rows.Rewriting())

    def _rows(self) -> None:
        """Tables whose rows get other counters, and those of episodes that get another number."""
        flagged: dict[PurePosixPath, list[Finding]] = {}
        for finding in self.finds(*_ROWS):
            if finding.file is not None and self._can_be_mended(finding):
                flagged.setdefault(finding.file, []).append(finding)
        for table, episodes in self.numbering.tables().items():
            found = flagged.get(table, [])
            moved = any(episode.is_moved for episode in episodes)
            if not found and not moved and table not in self.numbering.shifted:
                continue
            how = self._how(found)
            target = self.numbering.table_of(episodes[0]) if moved else table
            self.how[table] = how
            self.changes.append(self._table(table, target, episodes, how, found))

    def _table(
        self,
        table: PurePosixPath,
        target: PurePosixPath,
        episodes: Sequence[Numbered],
        how: rows.Rewriting,
        found: Sequence[Finding],
    ) -> Write:
        root = self.dataset.root

        def make(path: Path) -> None:
            rows.rewrite(self.dataset, root / table, path, episodes, how)

        what = ", ".join(dict.fromkeys(finding.code for finding in found)) or "its place in the dataset has changed"
        return Write(target, make, f"rows with other counters: {what}")

    def _how(self, found: list[Finding]) -> rows.Rewriting:
        retimed = frozenset(
            finding.episode for finding in found if finding.code == "timestamps" and finding.episode is not None
        )
        dropped = frozenset(finding.camera for finding in found if finding.code == "column_dangling" and finding.camera)
        missing = any(finding.message == "no column `task_index`" for finding in found)
        only = next(iter(self.dataset.tasks), None) if missing and len(self.dataset.tasks) == 1 else None
        return replace(rows.Rewriting(), retimed=retimed, dropped=dropped, task=only)

    def _can_be_mended(self, finding: Finding) -> bool:
        reason = _why_not(self.dataset, finding, self.findings)
        if reason:
            self.refuse(finding, reason)
        return not reason

    def _info(self) -> Write:
        reasons = [finding.message for finding in self.finds(*_INFO)] or ["the episodes have other numbers"]
        return Write(INFO, lambda path: path.write_bytes(mended_info(self)), "; ".join(dict.fromkeys(reasons)))


def _why_not(dataset: Dataset, finding: Finding, findings: tuple[Finding, ...]) -> str:
    """Why the rows of a table are not written anew for this finding; empty where they can be."""
    here = {other.code for other in findings if other.file == finding.file and other.episode == finding.episode}
    if finding.code == "column_missing":
        key = finding.message.split("`")[1]
        if key not in rows.COUNTERS:
            return f"nothing says what `{key}` was: restore the table from where it was recorded"
        if key == "task_index" and len(dataset.tasks) != 1:
            return f"there are {len(dataset.tasks)} tasks, and nothing says which rows have which"
    if finding.code == "timestamps":
        if "frame_index" in here:
            return "the frames are not in order either: nothing says which rows belong where"
        videos = ("video_rate", "video_start", "video_timing", "video_drift", "video_short")
        if any(other.code in videos and other.episode == finding.episode for other in findings):
            return "its videos do not agree with frame / fps either: mend those first"
    if finding.code == "frame_index" and "timestamps" in here:
        return "its time stamps are out of order as well: nothing says which rows belong where"
    return ""
