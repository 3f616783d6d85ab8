"""`meta/info.json` of v3.0, from that of a dataset in any version."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from .layout import CHUNKS_SIZE, DATA_FILE_MB, DATA_PATH, V30, VIDEO_FILE_MB, VIDEO_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Counted by v2.x only.
_GONE = ("total_chunks", "total_videos")


def v30_info(raw: Mapping[str, Any], *, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """The object of `meta/info.json` for so many episodes, frames and tasks, with the keys in LeRobot's order.

    `raw` is the dataset's own; what LeRobot does not know in it is kept. File sizes and templates are v3.0's own when
    `raw` is of an earlier version, and stay as they are when it is of v3.0.
    """
    own = raw if str(raw.get("codebase_version", "")).startswith("v3") else {}
    features = copy.deepcopy(dict(raw["features"]))
    for feature in features.values():
        if "video_info" in feature:  # what early writers called it
            known = feature.pop("video_info")
            feature.setdefault("info", known)
    videos = any(feature.get("dtype") == "video" for feature in features.values())
    splits = raw.get("splits")
    info = {
        "codebase_version": V30,
        "robot_type": raw.get("robot_type"),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": own.get("chunks_size", CHUNKS_SIZE),
        "data_files_size_in_mb": own.get("data_files_size_in_mb", DATA_FILE_MB),
        "video_files_size_in_mb": own.get("video_files_size_in_mb", VIDEO_FILE_MB),
        "fps": raw["fps"],
        "splits": splits if isinstance(splits, dict) and len(splits) > 1 else {"train": f"0:{episodes}"},
        "data_path": own.get("data_path") or DATA_PATH,
        "video_path": (own.get("video_path") or VIDEO_PATH) if videos else None,
        "features": features,
    }
    return info | {key: value for key, value in raw.items() if key not in info and key not in _GONE}
