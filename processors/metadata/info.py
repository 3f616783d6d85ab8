"""`meta/info.json` of a finished dataset: what LeRobot writes into it once there are videos."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import av

from ..formats.lerobot_info import parse_info, parse_object
from ..formats.lerobot_templates import DEFAULT_TEMPLATES, as_lerobot_fills_it

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..formats.lerobot_info import DatasetInfo


def finished_info(content: bytes, path: Path, output: Path, indices: Iterable[int]) -> bytes | None:
    """`meta/info.json` (`content`, of `path`) completed by looking at the videos below `output`; None: nothing to do.

    `features[k].info` comes from the camera's video with the lowest of `indices`, whatever the file said before; a
    camera of dtype `image` that has a video is a `video` now, and `video_path` is set; `total_videos` is episodes times
    cameras. Everything else stays. Raises as `parse_object` and `parse_info`.
    """
    raw = parse_object(content, path)
    info, new, ordered = parse_info(raw, path), copy.deepcopy(raw), sorted(indices)
    for camera in info.cameras:
        if found := _first_video(info, camera.key, output, ordered):
            describe(new["features"][camera.key], found)
            new["video_path"] = new.get("video_path") or DEFAULT_TEMPLATES["video_path"]
    for key in ("data_path", "video_path"):
        if isinstance(new.get(key), str):
            new[key] = as_lerobot_fills_it(new[key])
    if isinstance(new["fps"], str):  # LeRobot reckons with it
        new["fps"] = int(info.fps) if info.fps.denominator == 1 else float(info.fps)
    _total(new, len(ordered), info.chunks_size)
    if new == raw:
        return None
    return json.dumps(new, indent=4, ensure_ascii=False).encode()


def video_info(path: Path) -> dict[str, Any]:
    """What `get_video_info` of lerobot 0.3.3 says of a video: the same keys, order and types.

    Raises av.FFmpegError. The rate is cut to a whole number there, 29.97 becomes 29; nothing reads it.
    """
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        stream = container.streams.video[0]
        rate = stream.base_rate or stream.average_rate or 0
        found: dict[str, Any] = {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.codec_context.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(rate),
            "video.channels": _channels(stream.codec_context.pix_fmt or ""),
        }
        return {**found, **_audio_info(container)}


def _first_video(info: DatasetInfo, key: str, output: Path, indices: list[int]) -> dict[str, Any] | None:
    """The description of the camera's first video that can be read."""
    for index in indices:
        path = output / info.video(key, index)
        if path.is_file():
            try:
                return video_info(path)
            except (av.FFmpegError, IndexError):
                continue  # of an episode that is not finished: its own pass will say so
    return None


def describe(feature: dict[str, Any], found: dict[str, Any]) -> None:
    """Put the description of a video into a camera's feature; what it does not say stays."""
    feature["dtype"] = "video"
    known = feature.get("info")
    # A value that is right stays as it was written (30.0 for 30), and so do keys that LeRobot does not know.
    feature["info"] = {**found, **known, **_differing(known, found)} if isinstance(known, dict) and known else found


def _differing(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if known.get(key) != value}


def _total(new: dict[str, Any], episodes: int, chunks_size: int) -> None:
    """`total_videos` as LeRobot counts it: recorders that leave the encoding to others leave it at 0.

    `total_chunks` where it is absent, because LeRobot's converter to v3.0 insists on both.
    """
    recorded = new.get("total_episodes")
    total = recorded if type(recorded) is int else episodes
    videos = sum(feature.get("dtype") == "video" for feature in new["features"].values())
    if new.get("total_videos") != total * videos:
        new["total_videos"] = total * videos
    new.setdefault("total_chunks", -(-total // chunks_size))


def _channels(pix_fmt: str) -> int:
    if any(word in pix_fmt for word in ("gray", "depth", "monochrome")):
        return 1
    return 4 if any(word in pix_fmt for word in ("rgba", "yuva")) else 3


def _audio_info(container: Any) -> dict[str, Any]:
    if not container.streams.audio:
        return {"has_audio": False}
    stream = container.streams.audio[0]
    return {
        "audio.channels": stream.codec_context.channels,
        "audio.codec": stream.codec.canonical_name,
        "audio.bit_rate": stream.codec_context.bit_rate,
        "audio.sample_rate": stream.codec_context.sample_rate,
        "audio.bit_depth": stream.codec_context.format.bits,
        "audio.channel_layout": stream.codec_context.layout.name,
        "has_audio": True,
    }
