"""The files of `meta/` of a converted dataset, written from what was found in its episodes."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ...formats.lerobot_info import EPISODES, EPISODES_STATS, INFO, STATS, TASKS
from ...formats.lerobot_templates import DEFAULT_TEMPLATES
from ...metadata.info import video_info
from ..episode_stats import aggregate, line
from ..v30.episodes import EpisodeRow, VideoPart, write_episodes
from ..v30.info import v30_info
from ..v30.layout import EPISODES_PATH, FIRST_FILE, TASKS_PATH, V21, V30
from ..v30.tasks import write_tasks
from .plan import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path, PurePosixPath

    from ..episode_stats import Stats
    from .examine import Examined, Source
    from .plan import Product

_TOGETHER: Final = 100
_ONLY_V30: Final = ("data_files_size_in_mb", "video_files_size_in_mb")


def meta_files(
    source: Source, made: Sequence[Product], episodes: Iterable[Examined], output: Path
) -> Iterator[tuple[PurePosixPath, Callable[[Path], None]]]:
    """(path, what writes it) of each file of `meta/`, in the order in which they may appear: info.json last.

    `episodes` are gone through more than once, one in memory at a time. `output` holds the files that were `made`.
    """
    if source.version == V30:
        yield TASKS_PATH, lambda path: write_tasks(path, source.tasks)
        rows = _Rows(source, made, episodes)
        yield FIRST_FILE.path(EPISODES_PATH), lambda path: write_episodes(path, rows)
        yield STATS, lambda path: _write_json(path, _total(episodes))
    else:
        yield TASKS, lambda path: _write_lines(path, _task_lines(source))
        yield EPISODES, lambda path: _write_lines(path, map(_episode_line, episodes))
        yield EPISODES_STATS, lambda path: _write_lines(path, (line(one.index, one.statistics) for one in episodes))
    yield INFO, lambda path: _write_json(path, _info(source, made, episodes, output))


class _Rows:
    """The rows of meta/episodes, as often as they are wanted."""

    def __init__(self, source: Source, made: Sequence[Product], episodes: Iterable[Examined]) -> None:
        self._source, self._episodes = source, episodes
        self._places, self._begins = places(made), _begins(made, episodes)

    def __iter__(self) -> Iterator[EpisodeRow]:
        for one in self._episodes:
            yield EpisodeRow(
                index=one.index,
                tasks=one.tasks,
                length=one.length,
                data=self._places["", one.index][0].at,
                first=one.start,
                videos={key: self._part(key, one) for key in self._source.cameras},
                stats=one.statistics,
            )

    def _part(self, key: str, one: Examined) -> VideoPart:
        begin = self._begins[key, one.index]
        rate = self._source.rate
        return VideoPart(self._places[key, one.index][0].at, begin / rate, (begin + one.length) / rate)


def _begins(made: Sequence[Product], episodes: Iterable[Examined]) -> dict[tuple[str, int], Fraction]:
    """(camera, episode) -> the frame of the file at which the episode begins."""
    lengths = {one.index: one.length for one in episodes}
    begins = {}
    for product in made:
        frames = 0
        for index in product.episodes:
            begins[product.key, index] = Fraction(frames)
            frames += lengths[index]
    return begins


def _total(episodes: Iterable[Examined]) -> Stats:
    """Statistics of the dataset, brought together some episodes at a time; LeRobot's recorder does it one by one."""
    total: list[Stats] = []
    for one in episodes:
        total.append(one.statistics)
        if len(total) == _TOGETHER:
            total = [aggregate(total)]
    return aggregate(total) if total else {}


def _info(source: Source, made: Sequence[Product], episodes: Iterable[Examined], output: Path) -> dict[str, Any]:
    lengths = [one.length for one in episodes]
    info = v30_info(source.dataset.info, episodes=len(lengths), frames=sum(lengths), tasks=len(source.tasks))
    if source.version != V30:
        info = _as_v21(info, source, len(lengths))
    fps = source.rate
    info["fps"] = int(fps) if fps.denominator == 1 else float(fps)
    first = {product.key: product.target for product in reversed(made)}
    for key in source.cameras:
        feature = info["features"][key]
        if not feature.get("info") and key in first:
            feature["info"] = video_info(output / first[key])
    return info


def _as_v21(info: dict[str, Any], source: Source, episodes: int) -> dict[str, Any]:
    """The keys of v2.1, in its order."""
    chunks = -(-episodes // source.dataset.chunks_size)
    counted = {"total_videos": episodes * len(source.cameras), "total_chunks": chunks}
    new: dict[str, Any] = {}
    for key, value in copy.deepcopy(info).items():
        if key not in _ONLY_V30:
            new[key] = value
        if key == "total_tasks":
            new |= counted
    templates = {key: DEFAULT_TEMPLATES[key] for key in ("data_path", "video_path")}
    return {**new, **templates, "codebase_version": V21, "chunks_size": source.dataset.chunks_size}


def _task_lines(source: Source) -> Iterator[bytes]:
    for number, task in enumerate(source.tasks):
        yield _line({"task_index": number, "task": task})


def _episode_line(one: Examined) -> bytes:
    return _line({"episode_index": one.index, "tasks": list(one.tasks), "length": one.length})


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(lines)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")
