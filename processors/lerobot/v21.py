"""The metadata of v2.0 and v2.1: one table and one video a camera for each episode, JSON lines in `meta/`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..formats.lerobot_info import EPISODES, EPISODES_STATS, TASKS
from .dataset import EpisodeEntry, VideoSpan
from .findings import Severity
from .jsonlines import objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .dataset import Dataset, Stats
    from .findings import Problems


#: 0.3.3 takes the last line of an episode and opens.
MILD: Final = Severity.WARNING


def read(head: Dataset, report: Problems) -> Dataset:
    """The dataset with its tasks and episodes."""
    return replace(head, tasks=_tasks(head, report), episodes=tuple(_episodes(head, report)))


def episode_stats(dataset: Dataset, report: Problems) -> Iterator[tuple[int, Stats]]:
    """The lines of `meta/episodes_stats.jsonl`; nothing where there is no such file."""
    try:
        for number, line in objects(dataset.root, EPISODES_STATS, report):
            index, stats = line.get("episode_index"), line.get("stats")
            if type(index) is int and isinstance(stats, dict):
                yield index, stats
            else:
                report.add("meta_invalid", f"line {number}: expected `episode_index` and `stats`", EPISODES_STATS)
    except FileNotFoundError:
        return


def _tasks(head: Dataset, report: Problems) -> dict[int, str]:
    tasks: dict[int, str] = {}
    try:
        for number, line in objects(head.root, TASKS, report):
            index, task = line.get("task_index"), line.get("task")
            if type(index) is int and isinstance(task, str):
                if tasks.setdefault(index, task) != task:
                    report.add("task_double", f"line {number}: task {index} again, with another text", TASKS)
            else:
                report.add("meta_invalid", f"line {number}: expected `task_index` and `task`", TASKS)
    except FileNotFoundError:
        report.add("tasks_missing", "there is no list of tasks", TASKS)
    return tasks


def _episodes(head: Dataset, report: Problems) -> Iterator[EpisodeEntry]:
    seen: set[int] = set()
    try:
        for number, line in objects(head.root, EPISODES, report):
            index, length = line.get("episode_index"), line.get("length")
            if type(index) is not int or type(length) is not int or index < 0 or length < 0:
                report.add("meta_invalid", f"line {number}: expected `episode_index` and `length` from 0", EPISODES)
            elif index in seen:
                message = f"line {number}: episode {index} again"
                report.add("episode_double", message, EPISODES, episode=index, severity=MILD)
            else:
                seen.add(index)
                yield _entry(head, index, length, line)
    except FileNotFoundError:
        report.add("episodes_missing", "there is no list of episodes", EPISODES)


def _entry(head: Dataset, index: int, length: int, line: Mapping[str, Any]) -> EpisodeEntry:
    tasks = line.get("tasks")
    return EpisodeEntry(
        index=index,
        length=length,
        tasks=tuple(task for task in tasks if isinstance(task, str)) if isinstance(tasks, list) else (),
        table=head.table_path(index),
        first_row=0,
        videos={
            camera.key: VideoSpan(head.video_path(camera.key, index), 0.0, float(length / head.fps))
            for camera in head.cameras
        },
    )
