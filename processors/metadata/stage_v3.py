"""One episode of a LeRobot v3.0 recording, finished: its statistics, its quality report, what it shares with others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..base import Artifact
from ..formats import LEROBOT_V3
from ..formats.lerobot_v3_finished import STATS_NAME, VIDEOS_NAME
from ..formats.lerobot_v3_tables import read_span
from ..formats.lerobot_v3_videos import number_of
from ..lerobot.episode_stats import in_order
from ..lerobot.statistics import of_columns
from .clock import judge
from .edits_v3 import recording_edits
from .quality import control_path, report
from .table import arrays_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..base import Edit, StageContext
    from ..formats.lerobot_v3_recording import Recording
    from ..lerobot.episode_stats import Stats


def finish_recorded(ctx: StageContext, facts: Mapping[str, Mapping[str, Any]]) -> tuple[list[Artifact], Sequence[Edit]]:
    """Files of the episode, and edits of what it shares with others. `facts`: of the encode stage, by camera key.

    The edits read these files where they are published. Raises as `read_recording` and `read_span`.
    """
    episode = ctx.episode
    recording = LEROBOT_V3.recording(episode.root)
    features = recording.head.info["features"]
    columns = arrays_of(read_span(episode.root, recording.entries[episode.index], features), features)
    pictures: Stats = {
        key: {**fact["image_stats"], **fact["image_quantiles"]}
        for key, fact in facts.items()
        if fact.get("image_stats")
    }
    stats = in_order({**of_columns(columns, episode.fps), **pictures}, features)
    stamps = columns.get("timestamp")
    timestamps = None if stamps is None else judge(stamps.reshape(-1), episode.fps)
    orphans = dict(LEROBOT_V3.listing(episode.root).orphans)
    quality = report(episode, facts, timestamps, orphans, tuple(_findings(recording)))
    files = [
        _file(ctx, "quality.json", quality.to_json()),
        _json(ctx, VIDEOS_NAME, {"episode_index": episode.index, "videos": _videos(ctx, recording)}),
        _json(ctx, STATS_NAME, {"episode_index": episode.index, "stats": stats}),  # last: it says that all is there
    ]
    return files, recording_edits(episode.root, episode.output)


def _videos(ctx: StageContext, recording: Recording) -> dict[str, tuple[int, int, int]]:
    """Chunk, file and first frame of the video of each camera."""
    index, size = ctx.episode.index, recording.head.chunks_size
    return {
        camera.key: (index // size, index % size, 0)
        if camera.start is None
        else (*number_of(camera.video), camera.start)
        for camera in ctx.episode.cameras
    }


def _findings(recording: Recording) -> Iterator[str]:
    """What was wrong with the dataset around this episode."""
    counted = {"total_episodes": len(recording.entries)}
    counted["total_frames"] = sum(entry.length for entry in recording.entries.values())
    for key, count in counted.items():
        if (said := recording.head.info.get(key)) != count:
            yield f"meta/info.json says {key} {said}, there are rows of {count}"
    unlisted = sum(not entry.listed for entry in recording.entries.values())
    if unlisted:
        yield f"meta/episodes has no row of {unlisted} of {len(recording.entries)} episodes: derived from their rows"
    gap = next((index for index in range(len(recording.entries)) if index not in recording.entries), None)
    if gap is not None:
        yield f"there is no episode {gap}: LeRobot finds the videos of all later ones in the wrong place"


def _json(ctx: StageContext, name: str, value: Mapping[str, Any]) -> Artifact:
    return _file(ctx, name, json.dumps(value, ensure_ascii=False).encode() + b"\n")


def _file(ctx: StageContext, name: str, content: bytes) -> Artifact:
    path = ctx.scratch / name
    path.write_bytes(content)
    return Artifact(path, control_path(ctx.episode.id, name))
