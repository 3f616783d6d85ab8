"""What the episodes that are finished have left about themselves, beside their markers.

`meta/episodes` is written when no episode is left to come: until then this says where the videos of the finished ones
are, and afterwards it can be derived again from it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from .lerobot_info import episode_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CONTROL: Final = ".episoded"
#: `{"episode_index", "videos": {camera key: [chunk, file, first frame in the file]}}`
VIDEOS_NAME: Final = "videos.json"
#: `{"episode_index", "stats": {feature key: statistics}}`
STATS_NAME: Final = "stats.json"


def video_files(output: Path) -> list[Path]:
    """The `videos.json` of every finished episode, in order of the episodes."""
    return sorted(output.glob(f"{CONTROL}/episode_*/{VIDEOS_NAME}"))


def finished_videos(output: Path) -> Iterator[tuple[int, dict[str, tuple[int, int, int]]]]:
    """(episode index, camera key -> chunk, file and first frame of its video) of every finished episode."""
    for path in video_files(output):
        value: dict[str, Any] = json.loads(path.read_bytes())
        yield value["episode_index"], {key: (place[0], place[1], place[2]) for key, place in value["videos"].items()}


def any_to_come(output: Path, indices: Iterable[int]) -> bool:
    """Whether an episode is neither finished nor failed for good: then its names are not there yet."""
    controls = (output / CONTROL / episode_id(index) for index in indices)
    return any(not (control / STATS_NAME).exists() and not (control / "failed").exists() for control in controls)
