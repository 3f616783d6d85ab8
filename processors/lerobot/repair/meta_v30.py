"""`meta/` of v3.0 as the tables and videos say it should be."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ...errors import EpisodedError
from ...formats.lerobot_info import STATS
from ..episode_stats import aggregate
from ..findings import Problems
from ..inspect.film import read as read_film
from ..reading import read_episode_stats, read_total_stats
from ..v30.episodes import EpisodeRow, VideoPart, write_episodes
from ..v30.layout import FileIndex
from ..v30.reading import EPISODES_FOLDER, TASKS_TABLE, episode_files, episode_rows
from ..v30.tasks import write_tasks
from . import statistics
from .plan import Retire, Write
from .tasks import known_tasks
from .unlisted import file_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path, PurePosixPath

    from ..dataset import Stats
    from ..findings import Finding
    from .mending import Mending
    from .plan import Change
    from .truth import Numbered

_EPISODES: Final = ("episode_order", "episode_double", "range_wrong", "episode_tasks", "episode_gap")
_SPANS: Final = ("video_drift", "video_span", "video_end")
_STATS: Final = (
    "stats_missing",
    "stats_episode",
    "stats_feature",
    "stats_shape",
    "stats_overflow",
    "stats_invalid",
    "stats_quantiles",
    "stats_wrong",
)
#: Columns of meta/episodes that are made from what is known; all others are kept as they are.
_OWN: Final = ("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index")


def mended_meta(mending: Mending) -> Iterator[Change]:
    """The changes to tasks.parquet, meta/episodes and stats.json."""
    yield from _tasks(mending)
    spans = _spans(mending)
    stats = bool(mending.finds(*_STATS)) or bool(mending.how) or mending.numbering.is_new
    if mending.finds(*_EPISODES, *_SPANS) or stats:
        files = episode_files(mending.dataset.root) or [EPISODES_FOLDER / "chunk-000/file-000.parquet"]
        made = _Made(mending, spans, renewed=stats)
        why = "in order, with the ranges of its rows and the times of its pictures"
        if mending.finds("episodes_missing"):  # what is there instead of a list is kept, and nothing more
            damaged = mending.finds("meta_invalid", "table_unreadable")
            mending.made_anew.update(one for one in damaged if one.file in files)
        yield Write(files[0], made.write_episodes, why + (", and statistics" if stats else ""))
        yield from (Retire(file, f"its rows are in {files[0].name} now") for file in files[1:])
        if stats:
            yield Write(STATS, made.write_total, "of all episodes together")


def _tasks(mending: Mending) -> Iterator[Change]:
    tasks = dict(sorted(mending.dataset.tasks.items()))
    found = mending.finds("tasks_missing", "task_order", "tasks_index")
    if not found:
        return
    if found[0].code == "tasks_missing":
        tasks = known_tasks(mending.dataset, mending.numbering.episodes) or {}
    if not tasks or [*tasks] != [*range(len(tasks))]:
        for finding in found:
            mending.refuse(finding, "which task index has which text cannot be told from the episodes")
        return
    why = "the texts as the index of a pandas frame, in the order of their numbers"
    yield Write(TASKS_TABLE, lambda path: write_tasks(path, [*tasks.values()]), why)


def _spans(mending: Mending) -> dict[tuple[str, int], tuple[float, float]]:
    """(camera, episode) -> start and end in seconds, for the files of which something was found."""
    spans: dict[tuple[str, int], tuple[float, float]] = {}
    for file in dict.fromkeys(finding.file for finding in mending.finds(*_SPANS)):
        found = [finding for finding in mending.finds(*_SPANS) if finding.file == file]
        new = _fitted(mending, file, found) if file is not None else None
        if new is None:
            for finding in found:
                mending.refuse(finding, "the lengths of its episodes do not fill the file exactly")
        else:
            spans |= new
    return spans


def _fitted(
    mending: Mending, file: PurePosixPath, found: list[Finding]
) -> dict[tuple[str, int], tuple[float, float]] | None:
    """The spans of the episodes in one file from the times of its pictures; None where they do not fit."""
    dataset, camera = mending.dataset, found[0].camera or ""
    parts = [
        (entry, entry.videos[camera])
        for entry in dataset.episodes
        if camera in entry.videos and entry.videos[camera].file == file
    ]
    if not parts:
        return None
    if {finding.code for finding in found} == {"video_end"}:
        return {
            (camera, entry.index): (span.start_s, span.start_s + entry.length / float(dataset.fps))
            for entry, span in parts
        }
    try:
        times = read_film(dataset.root / file).times
    except EpisodedError:
        return None
    if len(times) != sum(entry.length for entry, _ in parts):
        return None
    spans, first = {}, 0
    for entry, _ in sorted(parts, key=lambda part: (part[1].start_s, part[0].index)):
        start = float(times[first])
        spans[camera, entry.index] = (start, start + entry.length / float(dataset.fps))
        first += entry.length
    return spans


class _Made:
    """meta/episodes and stats.json, which hold the same statistics."""

    def __init__(
        self, mending: Mending, spans: Mapping[tuple[str, int], tuple[float, float]], *, renewed: bool
    ) -> None:
        self._mending = mending
        self._spans = spans
        self._renewed = renewed
        self._rows: list[EpisodeRow] = []

    def write_episodes(self, path: Path) -> None:
        """Write the one file with all episodes."""
        write_episodes(path, self._made())

    def write_total(self, path: Path) -> None:
        """Write the statistics of the dataset."""
        recorded = read_total_stats(self._mending.dataset, []) or {}
        total = {**recorded, **aggregate([row.stats for row in self._made()])}
        path.write_text(json.dumps(total, indent=4, ensure_ascii=False))

    def _made(self) -> list[EpisodeRow]:
        if not self._rows:
            root = self._mending.dataset.root
            raw = {row["episode_index"]: row for _, row in episode_rows(root, Problems(root, []), stats=False)}
            stats = dict(read_episode_stats(self._mending.dataset, []))
            pictures = self._pictures(stats) if self._renewed else {}
            self._rows = [
                self._row(
                    episode,
                    raw.get(episode.entry.index, {}),
                    stats.get(episode.entry.index, {}),
                    pictures.get(episode.entry.index, {}),
                )
                for episode in self._mending.numbering.episodes
            ]
        return self._rows

    def _row(
        self, episode: Numbered, raw: Mapping[str, Any], recorded: Stats, pictures: Mapping[str, dict[str, Any]]
    ) -> EpisodeRow:
        dataset, entry = self._mending.dataset, episode.entry
        stats = recorded
        if self._renewed:
            how = self._mending.rewriting(entry.table)
            stats = statistics.of_episode(dataset, episode, how, recorded, pictures)
        videos = {}
        for key, span in entry.videos.items():
            start, end = self._spans.get((key, entry.index), (span.start_s, span.end_s))
            videos[key] = VideoPart(_at(raw, f"videos/{key}/", span.file), Fraction(start), Fraction(end))
        extra = {key: value for key, value in raw.items() if key not in _OWN and not key.startswith("meta/episodes/")}
        return EpisodeRow(
            index=episode.index,
            tasks=entry.tasks,
            length=entry.length,
            data=_at(raw, "data/", entry.table),
            first=episode.start,
            videos=videos,
            stats=stats,
            extra=extra,
        )

    def _pictures(self, recorded: Mapping[int, Stats]) -> dict[int, dict[str, dict[str, Any]]]:
        """Episode -> camera -> statistics where the recorded ones cannot stay; each video file is decoded once."""
        dataset = self._mending.dataset
        found: dict[int, dict[str, dict[str, Any]]] = {}
        wrong = {(one.camera, one.episode) for one in self._mending.finds("stats_wrong")}
        for camera in dataset.cameras:
            files: dict[PurePosixPath, list[tuple[Numbered, float]]] = {}
            for episode in self._mending.numbering.episodes:
                index, span = episode.entry.index, episode.entry.videos.get(camera.key)
                usable = statistics.is_usable(dataset, camera, recorded.get(index, {}).get(camera.key))
                if span is not None and not camera.is_depth and (not usable or (camera.key, index) in wrong):
                    start, _ = self._spans.get((camera.key, index), (span.start_s, 0.0))
                    files.setdefault(span.file, []).append((episode, start))
            for file, parts in files.items():
                for index, entry in statistics.of_video(dataset, file, parts).items():
                    found.setdefault(index, {})[camera.key] = entry
        return found


def _at(raw: Mapping[str, Any], prefix: str, name: PurePosixPath) -> FileIndex:
    """The numbers of a file, as meta/episodes has them, or, where there is none, by its path."""
    if f"{prefix}chunk_index" in raw:
        return FileIndex(raw[f"{prefix}chunk_index"], raw[f"{prefix}file_index"])
    chunk, number = file_numbers(name) or (0, 0)
    return FileIndex(chunk, number)
