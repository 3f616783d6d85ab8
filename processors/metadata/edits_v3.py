"""The files that the episodes of a LeRobot v3.0 recording share, each as a function of what lies there now.

Everything is derived from what is published: the rows in `data/`, and of each finished episode `stats.json` in its
control directory. Applying an edit twice gives the same, and so does applying it after a recorder has written the file
again. In this order, because each relies on the one before: the rows, the list of episodes, the statistics of all,
and last info.json, which says how many there are.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from ..base import Edit
from ..formats import LEROBOT_V3
from ..formats.lerobot_info import INFO, STATS, episode_id, parse_object
from ..formats.lerobot_v3_finished import STATS_NAME, any_to_come, finished_videos
from ..formats.lerobot_v3_load import refuse_while_written
from ..formats.lerobot_v3_tables import closed_table, kept, newest, table_files
from ..formats.whole import is_closed, parquet_ends
from .edits import companions
from .quality import control_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path, PurePosixPath

    from .episodes_v3 import Finished


def recording_edits(root: Path, output: Path) -> list[Edit]:
    """What the episodes that are finished below `output` by then change in the files that all share.

    While others are to come nothing is changed, but for what an output of its own needs to be a dataset: LeRobot opens
    none that lacks a video, and to write the list once for each of a thousand episodes would take longer than to encode
    them.
    """
    from .episodes_v3 import episode_files_to_write

    listed = episode_files_to_write(root)
    edits = [
        *_tables(root, output),
        *(
            Edit(name, partial(_episodes, root, output, name), kept(name) if _is_unclosed(output / name) else None)
            for name in listed
        ),
        Edit(STATS, partial(_totals, root, output)),
        Edit(INFO, partial(_info, root, output)),
    ]
    last = [Edit(edit.target, partial(_when_none_is_to_come, root, output, edit), edit.keep) for edit in edits]
    if output == root:
        return last
    # info.json first as well: what follows reads the output as a dataset.
    whole = Edit(INFO, lambda now: now or (root / INFO).read_bytes())
    return [*companions(root, (INFO, STATS, *listed)), *_tables(root, output), whole, *last]


def _when_none_is_to_come(root: Path, output: Path, edit: Edit, current: bytes | None) -> bytes | None:
    recording = LEROBOT_V3.recording(root)
    return None if any_to_come(output, recording.entries) else edit.derive(current)


def dataset_edits(root: Path, output: Path) -> list[Edit]:
    """The same, or nothing before any episode is finished."""
    return recording_edits(root, output) if next(_published(output), None) is not None else []


def _tables(root: Path, output: Path) -> Iterator[Edit]:
    """The files of `data/`: with the footer that their recorder never wrote, and where the output needs them."""
    for name in table_files(root):
        unclosed = _is_unclosed(root / name)
        if unclosed or (root / kept(name)).is_file() or not _same_size(root / name, output / name):
            yield Edit(name, partial(_table, root, output, name), kept(name) if unclosed and output == root else None)


def _table(root: Path, output: Path, name: PurePosixPath, current: bytes | None) -> bytes | None:
    features = _features(root)
    source = newest(root, name, features)
    if source == output / name and current is not None and is_closed(current):
        return None
    content = source.read_bytes()
    if is_closed(content):
        return content
    refuse_while_written(source)
    return closed_table(content, features)


def _episodes(root: Path, output: Path, name: PurePosixPath, current: bytes | None) -> bytes | None:
    from .episodes_v3 import listed_episodes

    return listed_episodes(LEROBOT_V3.recording(root), name, current, dict(_published(output)))


def _totals(root: Path, output: Path, current: bytes | None) -> bytes | None:
    """`meta/stats.json`: what the recorder wrote where it is valid and of all the rows, else ours."""
    from .episodes_v3 import total_stats

    found = parse_object(current or _read(root / STATS) or b"{}", output / STATS)
    stats = total_stats(output, found)
    return None if current and stats == found else json.dumps(stats, indent=4, ensure_ascii=False).encode()


def _info(root: Path, output: Path, current: bytes | None) -> bytes | None:
    from .info_v3 import finished_info

    content = current if output == root and current is not None else (root / INFO).read_bytes()
    new = finished_info(content, root, output)
    return new or (None if output == root else content)


def _published(output: Path) -> Iterator[tuple[int, Finished]]:
    """(index, what is known of it) of every finished episode, in order."""
    for index, videos in finished_videos(output):
        path = output / control_path(episode_id(index), STATS_NAME)
        if path.is_file():  # it is published after the places of the videos
            yield index, {"stats": json.loads(path.read_bytes())["stats"], "videos": videos}


def _features(root: Path) -> Mapping[str, Any]:
    features: dict[str, Any] = parse_object((root / INFO).read_bytes(), root / INFO)["features"]
    return features


def _is_unclosed(path: Path) -> bool:
    return path.is_file() and not parquet_ends(path)


def _same_size(one: Path, other: Path) -> bool:
    return other.is_file() and one.stat().st_size == other.stat().st_size


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
