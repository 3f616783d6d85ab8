"""Which episodes there are, with what lengths, and under which numbers they will be."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ...formats.lerobot_info import EPISODES
from .truth import Numbered, episodes_on_disk, number, rows_of, with_length
from .unlisted import unlisted_episodes

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from ..dataset import Dataset, EpisodeEntry
    from ..findings import Finding

#: What keeps episodes from getting other numbers: a file of theirs cannot be read, or is not where it belongs.
_IN_THE_WAY = frozenset(
    {"table_missing", "table_unreadable", "lfs_pointer", "rows_mismatch", "row_order", "episode_empty"}
)
_NOBODY_KNOWS = "without the list of tasks nobody knows what the episodes show"


class Numbering:
    """The episodes as they will be. `is_new`: their numbers, lengths or places differ from what the metadata says."""

    def __init__(self, dataset: Dataset, findings: tuple[Finding, ...], refusals: dict[Finding, str]) -> None:
        self._dataset = dataset
        self._findings = findings
        self._refusals = refusals
        entries, found = self._entries()
        gaps = [finding for finding in findings if finding.code == "episode_gap"]
        close = bool(gaps) and self._may_close(gaps)
        self.episodes = number(entries, close_gaps=close)
        self.is_new = found or close
        before = {episode.entry.index: episode.start for episode in number(dataset.episodes, close_gaps=False)}
        shifted = [one for one in self.episodes if before.get(one.entry.index, one.start) != one.start]
        #: Tables whose rows get another place in the dataset.
        self.shifted = frozenset(episode.entry.table for episode in shifted) if self.is_new else frozenset()

    def tables(self) -> dict[PurePosixPath, list[Numbered]]:
        """The episodes in each table, in the order of their rows."""
        return {table: [*group] for table, group in groupby(self.episodes, lambda episode: episode.entry.table)}

    def table_of(self, episode: Numbered) -> PurePosixPath:
        """Where its table will lie: of v2.x under its new number."""
        if self._dataset.version >= (3, 0):
            return episode.entry.table
        return self._dataset.table_path(episode.index)

    def _entries(self) -> tuple[list[EpisodeEntry], bool]:
        """The entries, with the lengths that their files have; whether any is news to the metadata."""
        v3 = self._dataset.version >= (3, 0)
        for finding in self._findings:
            if finding.code == "episodes_missing":
                if not finding.repairable:
                    self._refusals[finding] = finding.remedy
                    return [], False
                if not self._dataset.tasks:
                    self._refusals[finding] = _NOBODY_KNOWS
                    return [], False
                found = unlisted_episodes(self._dataset) if v3 else episodes_on_disk(self._dataset)
                if found is None:
                    self._refusals[finding] = "its videos and rows do not show where each episode begins and ends"
                return [*(found or ())], found is not None
        entries = {entry.index: entry for entry in self._dataset.episodes}
        news = not v3 and self._add_those_of_torn_lines(entries)
        for finding in self._findings:
            if finding.code != "rows_mismatch":
                continue
            rows = None if v3 or finding.episode is None else rows_of(self._dataset, entries[finding.episode])
            if rows is None or finding.episode is None:
                self._refusals[finding] = "its videos do not have as many pictures as it has rows: restore one or other"
            else:
                entries[finding.episode] = with_length(self._dataset, entries[finding.episode], rows)
                news = True
        return [*entries.values()], news

    def _add_those_of_torn_lines(self, entries: dict[int, EpisodeEntry]) -> bool:
        """Where lines of a v2.x list cannot be read, every table is an episode; whether any was added."""
        torn = [one for one in self._findings if one.code == "meta_invalid" and one.file == EPISODES]
        if torn and not self._dataset.tasks:
            self._refusals |= dict.fromkeys(torn, _NOBODY_KNOWS)
            return False
        before = len(entries)
        for entry in episodes_on_disk(self._dataset) if torn else ():
            entries.setdefault(entry.index, entry)
        return len(entries) > before

    def _may_close(self, gaps: list[Finding]) -> bool:
        """Whether episodes can get other numbers; where not, the gaps are refused with the reason."""
        blocking = [
            finding for finding in self._findings if finding.code in _IN_THE_WAY and finding not in self._refusals
        ] + [finding for finding in self._refusals if finding.code == "rows_mismatch"]
        for gap in gaps if blocking else []:
            where = blocking[0].file or f"episode {blocking[0].episode}"
            self._refusals[gap] = f"episodes are given other numbers only when all can be read: {where} first"
        return not blocking
