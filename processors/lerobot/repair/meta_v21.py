"""`meta/` of v2.0 and v2.1 as the tables and videos say it should be, and the files of episodes that are renumbered."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ...errors import InputError
from ...formats import lerobot_frames as frames
from ...formats.lerobot_info import EPISODES, EPISODES_STATS, STATS, TASKS
from ...formats.lerobot_table import opened
from ..episode_stats import aggregate, line
from ..reading import read_episode_stats, read_total_stats
from . import statistics
from .plan import Move, Retire, Write
from .tasks import known_tasks, texts_of
from .truth import task_indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..dataset import Stats
    from .mending import Mending
    from .plan import Change
    from .truth import Numbered

_EPISODES: Final = ("episodes_missing", "episode_double", "episode_tasks", "rows_mismatch")
_STATS: Final = ("stats_missing", "stats_episode", "stats_feature", "stats_shape", "stats_overflow", "stats_invalid")


def mended_meta(mending: Mending) -> Iterator[Change]:
    """The changes to the lists of tasks and episodes and to the statistics, and the renumbering of files."""
    tasks = mending.dataset.tasks
    if missing := mending.finds("tasks_missing"):
        found = known_tasks(mending.dataset, mending.numbering.episodes)
        if found is None:
            mending.refuse(missing[0], "which task index has which text cannot be told from the episodes")
        else:
            tasks = found
            yield Write(TASKS, lambda path: path.write_bytes(_task_lines(found)), "the tasks of the episodes")
    if _torn(mending, EPISODES) or mending.finds(*_EPISODES) or mending.numbering.is_new:
        episodes = mending.numbering.episodes
        why = "one line for each episode, in order, with the rows and tasks of its table"
        yield Write(EPISODES, lambda path: path.write_bytes(_lines(mending, episodes, tasks)), why)
    yield from _statistics(mending)
    yield from _renumbered(mending)


def _torn(mending: Mending, name: PurePosixPath) -> bool:
    """Whether lines of the file could not be read: they are made anew with the others."""
    torn = [finding for finding in mending.finds("meta_invalid") if finding.file == name]
    if name == EPISODES and not mending.numbering.episodes:
        return False  # nobody knows what to write in their place
    mending.made_anew.update(torn)
    return bool(torn)


def _task_lines(tasks: dict[int, str]) -> bytes:
    lines = [{"task_index": index, "task": text} for index, text in sorted(tasks.items())]
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines).encode()


def _lines(mending: Mending, episodes: list[Numbered], tasks: Mapping[int, str]) -> bytes:
    lines = []
    for episode in episodes:
        texts = [*episode.entry.tasks]
        with suppress(InputError), opened(mending.dataset.root / episode.entry.table) as parquet:
            texts = texts_of(task_indices(parquet), tasks, texts)
        lines.append({"episode_index": episode.index, "tasks": texts, "length": episode.entry.length})
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines).encode()


def _statistics(mending: Mending) -> Iterator[Change]:
    found = mending.finds(*_STATS, "stats_wrong")
    torn = _torn(mending, EPISODES_STATS)
    if not found and not torn and not mending.numbering.is_new and not mending.how:
        return
    why = "reckoned from the rows and the pictures: " + (
        ", ".join(dict.fromkeys(finding.code for finding in found)) or "the rows have changed"
    )
    if mending.dataset.version == (2, 0):
        yield Write(STATS, lambda path: _write_total(mending, path), why)
    else:
        yield Write(EPISODES_STATS, lambda path: _write_lines(mending, found, path), why)


def _write_lines(mending: Mending, found: list[Any], path: Path) -> None:
    """Lines that nothing was found about stay byte for byte, unless their rows have changed."""
    recorded = dict(read_episode_stats(mending.dataset, []))
    flagged = {finding.episode for finding in found}
    every = any(finding.code == "stats_missing" for finding in found)
    with path.open("wb") as file:
        for episode in mending.numbering.episodes:
            entry = episode.entry
            untouched = entry.table not in mending.how and not episode.is_moved and entry.index not in flagged
            if untouched and not every and entry.index in recorded:
                file.write(line(entry.index, recorded[entry.index]))
            elif stats := _of(mending, episode, recorded.get(entry.index, {}), found):
                file.write(line(episode.index, stats))


def _of(mending: Mending, episode: Numbered, recorded: Stats, found: list[Any]) -> Stats:
    """Statistics of one episode; its cameras are decoded where what was recorded of them cannot be used."""
    dataset, entry = mending.dataset, episode.entry
    wrong = {finding.camera for finding in found if finding.code == "stats_wrong" and finding.episode == entry.index}
    pictures = {}
    for camera in dataset.cameras:
        if camera.key not in wrong and statistics.is_usable(dataset, camera, recorded.get(camera.key)):
            continue
        span = entry.videos[camera.key]
        if not camera.is_depth and (one := statistics.of_video(dataset, span.file, [(episode, span.start_s)])):
            pictures[camera.key] = one[entry.index]
    return statistics.of_episode(dataset, episode, mending.rewriting(entry.table), recorded, pictures)


def _write_total(mending: Mending, path: Path) -> None:
    recorded = read_total_stats(mending.dataset, []) or {}
    per_episode = [_of(mending, episode, {}, []) for episode in mending.numbering.episodes]
    total = {**recorded, **aggregate(per_episode)}
    path.write_text(json.dumps(total, indent=4, ensure_ascii=False))


def _renumbered(mending: Mending) -> Iterator[Change]:
    """Videos, frames and the daemon's records of episodes that get another number; the tables have been written."""
    dataset = mending.dataset
    for episode in mending.numbering.episodes:
        if not episode.is_moved:
            continue
        old, why = episode.entry.index, f"episode {episode.entry.index} becomes {episode.index}"
        yield Retire(episode.entry.table, why)
        for key, span in episode.entry.videos.items():
            if (dataset.root / span.file).is_file():
                yield Move(span.file, dataset.video_path(key, episode.index), why)
        for camera in frames.camera_folders(dataset.root):
            for index, folder in frames.episodes_in(camera):
                if index == old:
                    source = PurePosixPath(Path(folder).relative_to(dataset.root))
                    name = source.name.replace(f"{old:06d}", f"{episode.index:06d}")
                    yield Move(source, source.with_name(name), why)
        control = PurePosixPath(".episoded", f"episode_{old:06d}")
        if (dataset.root / control).is_dir():
            yield Retire(control, f"{why}: its checkpoints name the old files")
