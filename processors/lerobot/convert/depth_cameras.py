"""Depth videos of LeRobot's own kind, which the depth stage left below `depth/`, become cameras of the dataset.

LeRobot 0.6 and later reads such a camera as depth. Earlier releases do not know what it is and fail at its frames,
which is why the dataset itself never lists it: only a conversion to v3.0 does, whose source was given these videos by
the word of its pipeline (`export = ["lerobot"]`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from glob import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ...depth import meta
from ...depth.files import below_depth
from ...errors import EpisodedError
from ...formats.lerobot_info import episode_id
from ..dataset import Dataset, EpisodeEntry, Feature, VideoSpan

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What LeRobot's robots call the depth of the camera they belong to: `observation.images.top_depth`.
SUFFIX: Final = "_depth"


@dataclass(frozen=True)
class WithDepth:
    """A dataset and its episodes with the depth cameras that it has; `notes`: what there is to say about them."""

    dataset: Dataset
    entries: list[EpisodeEntry]
    notes: list[str]


def with_depth_cameras(dataset: Dataset, entries: Sequence[EpisodeEntry]) -> WithDepth:
    """Enter a depth camera for each camera of which all `entries` have such a video; it is not entered for a part.

    Its feature is the one in the descriptions beside the videos.
    """
    found = WithDepth(dataset, list(entries), [])
    for camera in dataset.cameras:
        if camera.is_depth:
            continue
        videos = {entry.index: _video_of(dataset, camera.key, entry) for entry in entries}
        made = {index: video for index, video in videos.items() if video is not None}
        if made:
            found = _entered(found, camera.key, made)
    return found


@dataclass(frozen=True)
class _Video:
    """The depth video of one camera of one episode, and the feature that describes it."""

    file: PurePosixPath
    feature: Feature


def _entered(before: WithDepth, key: str, videos: dict[int, _Video]) -> WithDepth:
    depth_key = f"{key}{SUFFIX}"
    if why := _why_not(before, depth_key, videos):
        return replace(before, notes=[*before.notes, f"{depth_key}: not entered as a depth camera, {why}"])
    dataset, feature = before.dataset, next(iter(videos.values())).feature
    features = {**dataset.features, depth_key: feature}
    info = {**dataset.info, "features": {**dataset.info["features"], depth_key: feature.raw}}
    entries = [
        replace(entry, videos={**entry.videos, depth_key: _span(videos[entry.index], entry, dataset)})
        for entry in before.entries
    ]
    note = f"{depth_key}: entered as a depth camera, which LeRobot 0.6 and later reads, and no earlier one"
    return WithDepth(replace(dataset, features=features, info=info), entries, [*before.notes, note])


def _why_not(before: WithDepth, depth_key: str, videos: dict[int, _Video]) -> str:
    """Why it cannot be a camera of the dataset, in words; empty when it can."""
    if depth_key in before.dataset.features:
        return "the dataset has a feature of that name"
    lacking = [entry.index for entry in before.entries if entry.index not in videos]
    if lacking:
        return f"{len(lacking)} of {len(before.entries)} episodes have none: the first is {episode_id(lacking[0])}"
    first = next(iter(videos.values())).feature
    unlike = [index for index, video in videos.items() if video.feature != first]
    return f"that of {episode_id(unlike[0])} has another size or other codes than the first" if unlike else ""


def _span(video: _Video, entry: EpisodeEntry, dataset: Dataset) -> VideoSpan:
    return VideoSpan(video.file, 0.0, float(entry.length / dataset.fps))


def _video_of(dataset: Dataset, key: str, entry: EpisodeEntry) -> _Video | None:
    """By the description of its depth; None where there is none, or the video that it names is not there."""
    span = entry.videos.get(key)
    if span is None:
        return None
    depth = _depth_of(dataset, key, span.file, episode_id(entry.index))
    try:
        export = meta.read(dataset.root / meta.beside(depth))["exports"]["lerobot"]
        file, raw = depth.with_name(export["file"]), {**export["feature"]}
        feature = Feature(f"{key}{SUFFIX}", "video", tuple(raw["shape"]), raw)
    except (EpisodedError, KeyError, TypeError, ValueError):  # none, or not ours: nothing says what the codes mean
        return None
    return _Video(file, feature) if (dataset.root / file).is_file() else None


def _depth_of(dataset: Dataset, key: str, video: PurePosixPath, episode: str) -> PurePosixPath:
    """Where the depth of an episode lies: in the chunk of its video, or in that which another version had it in."""
    depth = below_depth(video, key, episode)
    if (dataset.root / meta.beside(depth)).is_file():
        return depth
    others = sorted(dataset.root.glob(f"depth/chunk-*/{escape(key)}/{meta.beside(depth).name}"))
    return PurePosixPath(others[0].relative_to(dataset.root)).with_suffix(depth.suffix) if others else depth
