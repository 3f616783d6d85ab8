"""`meta/info.json` of a v3.0 recording that is finished: counts from the rows, cameras from their videos."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import av

from ..formats.lerobot_info import INFO, parse_fps, parse_object
from ..lerobot.reading import read_dataset
from .info import describe, video_info

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..lerobot.dataset import Dataset, Feature


def finished_info(content: bytes, root: Path, output: Path) -> bytes | None:
    """info.json (`content`, of the dataset at `root`) completed from what lies below `output`; None: nothing to do.

    `total_*` and the only split are counted in `meta/episodes`; `features[k].info` comes from the first video of the
    camera there is, whatever the file said before. Everything else stays. Raises as `parse_object` and `parse_fps`.
    """
    path = root / INFO
    raw = parse_object(content, path)
    new = copy.deepcopy(raw)
    if not (output / INFO).is_file():  # the output is read as a dataset, and this is what makes it one
        return content
    dataset = read_dataset(output, [])
    for camera in dataset.cameras:
        if found := _first_video(dataset, camera.key):
            describe(new["features"][camera.key], _as_depth(found, camera) if camera.is_depth else found)
    if isinstance(new["fps"], str):  # LeRobot reckons with it
        fps = parse_fps(new["fps"], path)
        new["fps"] = int(fps) if fps.denominator == 1 else float(fps)
    new |= _totals(dataset, raw)
    return json.dumps(new, indent=4, ensure_ascii=False).encode() if new != raw else None


def _as_depth(found: dict[str, Any], camera: Feature) -> dict[str, Any]:
    """The description of a depth video: how its codes are read, and in which unit the frames were recorded."""
    from ..media.lerobot_depth import DepthCodes

    known = camera.raw["info"]
    depth = {key: value for key, value in found.items() if key != "video.is_depth_map"}
    return {**depth, **DepthCodes.of_info(known).info(), "depth_unit": known.get("depth_unit") or "mm"}


def _totals(dataset: Dataset, raw: Mapping[str, Any]) -> dict[str, Any]:
    episodes = len(dataset.episodes)
    splits = raw.get("splits")
    whole = {"train": f"0:{episodes}"}
    return {
        "total_episodes": episodes,
        "total_frames": dataset.frames,
        "total_tasks": len(dataset.tasks),
        "splits": splits if isinstance(splits, dict) and len(splits) > 1 else whole,
    }


def _first_video(dataset: Dataset, key: str) -> dict[str, Any] | None:
    """The description of the camera's first video that can be read."""
    for episode in dataset.episodes:
        span = episode.videos.get(key)
        if span and (dataset.root / span.file).is_file():
            try:
                return video_info(dataset.root / span.file)
            except (av.FFmpegError, IndexError):
                continue  # of an episode that is not finished: its own pass will say so
    return None
