"""A finished v2.1 dataset written again as v3.0, the way LeRobot 0.4.4 lays it out; for tests that read v3.0."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from episoded.processors.lerobot.episode_stats import aggregate
from episoded.processors.lerobot.v30.tasks import write_tasks
from lerobot_data import info_of, lines_of

if TYPE_CHECKING:
    from pathlib import Path

QUANTILES = (1, 10, 50, 90, 99)


def as_v30(source: Path, root: Path, *, joined: bool = True) -> Path:
    """Write the dataset at `source` as v3.0 to `root`: `joined` into one file a camera, or one file an episode."""
    info, episodes = info_of(source), lines_of(source / "meta/episodes.jsonl")
    cameras = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    stats = {line["episode_index"]: line["stats"] for line in lines_of(source / "meta/episodes_stats.jsonl")}
    rows: list[dict[str, Any]] = []
    start = 0
    for episode in episodes:
        index, length = episode["episode_index"], episode["length"]
        row: dict[str, Any] = {"episode_index": index, "tasks": episode["tasks"], "length": length}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        row |= {"dataset_from_index": start, "dataset_to_index": start + length}
        for key in cameras:
            begin = start / info["fps"] if joined else 0.0
            place = {"chunk_index": 0, "file_index": 0 if joined else index}
            place |= {"from_timestamp": begin, "to_timestamp": begin + length / info["fps"]}
            row |= {f"videos/{key}/{name}": value for name, value in place.items()}
        row |= {f"stats/{key}/{name}": value for key, entry in stats[index].items() for name, value in entry.items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows.append(row)
        start += length
    _write_tables(source, root, episodes)
    _write_videos(source, root, cameras, len(episodes), info["fps"], joined)
    write_episodes(root, rows)
    _write_meta(source, root, info, stats)
    return root


def episodes_table(root: Path) -> Path:
    return root / "meta/episodes/chunk-000/file-000.parquet"


def data_table(root: Path, number: int = 0) -> Path:
    return root / f"data/chunk-000/file-{number:03d}.parquet"


def video_file(root: Path, key: str, number: int = 0) -> Path:
    return root / f"videos/{key}/chunk-000/file-{number:03d}.mp4"


def read_episodes(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(episodes_table(root)).to_pylist()
    return rows


def write_episodes(root: Path, rows: list[dict[str, Any]]) -> None:
    episodes_table(root).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), episodes_table(root))


def _write_tables(source: Path, root: Path, episodes: list[dict[str, Any]]) -> None:
    data_table(root).parent.mkdir(parents=True)
    writer = None
    for episode in episodes:
        table = pq.read_table(source / f"data/chunk-000/episode_{episode['episode_index']:06d}.parquet")
        writer = writer or pq.ParquetWriter(data_table(root), table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _write_videos(source: Path, root: Path, cameras: list[str], episodes: int, fps: float, joined: bool) -> None:
    for key in cameras:
        parts = [source / f"videos/chunk-000/{key}/episode_{index:06d}.mp4" for index in range(episodes)]
        groups = [parts] if joined else [[part] for part in parts]
        for number, group in enumerate(groups):
            target = video_file(root, key, number)
            target.parent.mkdir(parents=True, exist_ok=True)
            join(group, target)


def join(parts: list[Path], target: Path) -> None:
    """Put the packets of videos one after another, each from where the one before ends."""
    with av.open(str(target), "w") as out:
        stream: Any = None
        offset = 0
        for part in parts:
            with av.open(str(part)) as container:
                video = container.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                step, count = int(1 / (video.average_rate * video.time_base)), 0
                for packet in container.demux(video):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = stream
                        out.mux(packet)
                        count += 1
            offset += count * step


def _write_meta(source: Path, root: Path, info: dict[str, Any], stats: dict[int, Any]) -> None:
    tasks = lines_of(source / "meta/tasks.jsonl")
    write_tasks(root / "meta/tasks.parquet", [task["task"] for task in tasks])
    new = {key: value for key, value in info.items() if key not in ("total_videos", "total_chunks")}
    new |= {
        "codebase_version": "v3.0",
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(new, indent=4))
    (root / "meta/stats.json").write_text(json.dumps(_total(list(stats.values()))))


def _total(episodes: list[Any]) -> dict[str, Any]:
    """The statistics of the whole; quantiles as in LeRobot are weighted means of those of the episodes."""
    total: dict[str, Any] = aggregate(episodes)
    for entry in total.values():
        middle = np.asarray(entry["mean"], np.float64).tolist()
        entry |= {f"q{quantile:02d}": middle for quantile in QUANTILES}
    return total
