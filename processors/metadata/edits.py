"""The dataset-level files that finished episodes change, each as a function of what lies there now.

They probe what is published, so applying one twice gives the same, and so does applying it after a recorder that is
still running has written the file again from its memory.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..base import Edit
from ..formats.lerobot_info import EPISODES, EPISODES_STATS, INFO, STATS, parse_object, read_info, read_lengths
from ..formats.names import is_ignored
from .quality import control_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from ..formats.lerobot_info import DatasetInfo
    from ..lerobot.episode_stats import Stats

#: The statistics of one finished episode, as one line of `meta/episodes_stats.jsonl`, with the quantiles of its PNGs.
EPISODE_STATS_NAME: Final = "stats.json"


def episode_edits(root: Path, output: Path, index: int, stats: Stats) -> list[Edit]:
    """What finishing the episode at `index` changes in `meta/` below `output`."""
    return _edits(root, output, lambda: {index: stats})


def dataset_edits(root: Path, output: Path) -> list[Edit]:
    """The same for every episode below `output` that is finished; none when there is none."""
    if next(_published(output), None) is None:
        return []
    return _edits(root, output, lambda: dict(_published(output)))


def _edits(root: Path, output: Path, finished: Callable[[], Mapping[int, Stats]]) -> list[Edit]:
    info = read_info(root / INFO)
    cameras = frozenset(camera.key for camera in info.cameras)
    statistics = _statistics(root, output, info, cameras, finished)
    edits = [] if output == root else list(companions(root, (INFO, statistics.target)))
    edits.append(statistics)
    # Last, like LeRobot's own loader expects: it says that there are videos.
    edits.append(Edit(INFO, lambda current: _info(root, output, current)))
    return edits


def _info(root: Path, output: Path, current: bytes | None) -> bytes | None:
    from .info import finished_info

    in_place = output == root and current is not None
    content = current if in_place and current is not None else (root / INFO).read_bytes()
    new = finished_info(content, root / INFO, output, read_lengths(root / EPISODES))
    return new or (None if in_place else content)


def _statistics(
    root: Path, output: Path, info: DatasetInfo, cameras: Collection[str], finished: Callable[[], Mapping[int, Stats]]
) -> Edit:
    if info.version < (2, 1):
        return Edit(STATS, lambda current: _aggregate(root, output, cameras, current))
    received = None if output == root else root / EPISODES_STATS
    return Edit(EPISODES_STATS, lambda current: _lines(received, cameras, finished(), current))


def _lines(
    received: Path | None, cameras: Collection[str], finished: Mapping[int, Stats], current: bytes | None
) -> bytes:
    """The lines that are there, made whole; what the recorder wrote (`received`) is taken over into another output."""
    from ..lerobot.episode_stats import line_of, with_line

    content, recorded = current or b"", _read(received) if received else b""
    for index, stats in finished.items():
        if line_of(content, index) is None and (line := line_of(recorded, index)):
            content = with_line(content, index, json.loads(line)["stats"], ())
        content = with_line(content, index, stats, cameras)
    return content


def _aggregate(root: Path, output: Path, cameras: Collection[str], current: bytes | None) -> bytes | None:
    """`meta/stats.json` of v2.0; None: nothing to do."""
    from ..lerobot.episode_stats import aggregate, with_aggregate

    found = parse_object(current or _read(root / STATS) or b"{}", output / STATS)
    stats = with_aggregate(found, aggregate(list(dict(_published(output)).values())), cameras)
    return None if current and stats == found else json.dumps(stats, indent=4, ensure_ascii=False).encode()


def _published(output: Path) -> Iterator[tuple[int, Stats]]:
    """(index, statistics) of every finished episode, in order."""
    for path in sorted(output.glob(str(control_path("episode_*", EPISODE_STATS_NAME)))):
        value: dict[str, Any] = json.loads(path.read_bytes())
        yield value["episode_index"], value["stats"]


def picture_statistics(root: Path, index: int) -> Stats:
    """Statistics and quantiles of the PNGs of an episode that was encoded here, by camera.

    A video does not give the same: what noise it smoothes away moves the quantiles by some levels.
    """
    content = _read(root / control_path(f"episode_{index:06d}", EPISODE_STATS_NAME))
    value = json.loads(content) if content else {}
    return {key: {**value["stats"][key], **found} for key, found in value.get("quantiles", {}).items()}


def companions(root: Path, derived: Collection[PurePosixPath]) -> Iterator[Edit]:
    """The files of `meta/` but those `derived`, and the dataset card, as received, for an output of its own."""
    found = [path for path in sorted((root / "meta").rglob("*")) if path.is_file() and not path.is_symlink()]
    for path in (*found, root / "README.md"):
        name = PurePosixPath(path.relative_to(root))
        if path.is_file() and name not in derived and not any(is_ignored(part) for part in name.parts):
            yield Edit(name, lambda _current, path=path: path.read_bytes())  # type: ignore[misc]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
