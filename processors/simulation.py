"""A simulated recording session: a dataset exactly as LeRobot's v2.1 recorder leaves it with its cameras still PNGs.

For `episoded demo`, tests and benchmarks. Files are written in the recorder's own order: frames as they come, then
for each finished episode its task, table, info.json, episodes.jsonl and, last, episodes_stats.jsonl.
"""

from __future__ import annotations

import json
import struct
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

import deflate
import numpy as np

from .lerobot.episode_stats import in_order, line, of_columns
from .lerobot.picture_statistics import ImageStatistics, histogram, sample_indices
from .simulation_scene import JOINTS, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

#: "dorobot" keeps no count of videos and names no codec; "dorobot-images" also calls its cameras `image` and leaves
#: the paths of their frames in the table.
Version = Literal["v2.1", "v2.0", "dorobot", "dorobot-images"]

TASK: Final = "Fetch the red ball."
_TABLE: Final = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO: Final = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_IMAGE: Final = "images/{image_key}/episode_{episode_index:06d}/frame_{frame_index:06d}.png"
COUNTERS: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def record(
    root: Path,
    episodes: int = 2,
    frames: int = 60,
    fps: float = 30,
    cameras: Sequence[str] = ("top", "wrist"),
    size: tuple[int, int] = (240, 320),
    start: int | None = None,
    version: Version = "v2.1",
    seed: int = 0,
) -> list[str]:
    """Record `episodes` episodes of `frames` frames into the dataset at `root`; returns their ids.

    A dataset that is there is continued, as LeRobot's `resume` does it, from `start` (default: after its last
    episode). `cameras` become features `observation.images.<name>` of `size` (height, width). The same arguments give
    the same bytes.
    """
    recorder = Recorder(root, fps, cameras, size, version, seed)
    first = recorder.info["total_episodes"] if start is None else start
    return [recorder.episode(index, frames) for index in range(first, first + episodes)]


class Recorder:
    """The recorder's own view of a dataset: like LeRobot's it holds info.json in memory and writes it whole."""

    def __init__(
        self, root: Path, fps: float, cameras: Sequence[str], size: tuple[int, int], version: Version, seed: int = 0
    ) -> None:
        self.root, self.version = root, version
        self.scene = Scene(cameras, size, seed)
        self.keys = {camera: f"observation.images.{camera}" for camera in cameras}
        path = root / "meta/info.json"
        self.info = json.loads(path.read_bytes()) if path.is_file() else _empty_info(fps, self.keys, size, version)

    def episode(self, index: int, frames: int) -> str:
        """Record one episode; returns its id."""
        steps: dict[str, list[NDArray[np.float32]]] = {"observation.state": [], "action": []}
        pictures = {key: ImageStatistics() for key in self.keys.values()}
        counted = frozenset(sample_indices(frames))
        for frame, step in enumerate(self.scene.episode(index, frames, float(self.info["fps"]))):
            steps["observation.state"].append(step.state)
            steps["action"].append(step.action)
            for camera, key in self.keys.items():
                self._write_frame(index, key, frame, step.pictures[camera])
                if frame in counted:
                    pictures[key].add(histogram(step.pictures[camera]))
        columns = {key: np.stack(rows) for key, rows in steps.items()} | self._counters(index, frames)
        self._save(index, frames, columns, {key: counts.result() for key, counts in pictures.items()})
        return f"episode_{index:06d}"

    def _write_frame(self, index: int, key: str, frame: int, picture: NDArray[np.uint8]) -> None:
        path = self.root / _IMAGE.format(image_key=key, episode_index=index, frame_index=frame)
        if frame == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.write_frame(path, picture)

    def write_frame(self, path: Path, picture: NDArray[np.uint8]) -> None:
        """Bring one frame to disk, now; a recorder with threads for that leaves it to them."""
        write_png(path, picture)

    def _counters(self, index: int, frames: int) -> dict[str, NDArray[Any]]:
        numbers = np.arange(frames)
        return {
            "timestamp": (numbers / self.info["fps"]).astype(np.float32),
            "frame_index": numbers,
            "episode_index": np.full(frames, index),
            "index": numbers + self.info["total_frames"],
            "task_index": np.zeros(frames, np.int64),
        }

    def _save(
        self, index: int, frames: int, columns: dict[str, NDArray[Any]], pictures: dict[str, dict[str, Any]]
    ) -> None:
        info, meta = self.info, self.root / "meta"
        meta.mkdir(exist_ok=True)
        if info["total_tasks"] == 0:
            info["total_tasks"] = 1
            _append(meta / "tasks.jsonl", {"task_index": 0, "task": TASK})
        self._write_table(index, columns)
        info["total_episodes"] += 1
        info["total_frames"] += frames
        info["total_chunks"] = max(info["total_chunks"], index // info["chunks_size"] + 1)
        info["splits"] = {"train": f"0:{info['total_episodes']}"}
        if not self.version.startswith("dorobot"):
            info["total_videos"] += len(self.keys)
        (meta / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False))
        _append(meta / "episodes.jsonl", {"episode_index": index, "tasks": [TASK], "length": frames})
        if self.version != "v2.0":  # v2.0 computes its statistics once, when the session is consolidated
            stats = of_columns(columns, Fraction(self.info["fps"]))
            with (meta / "episodes_stats.jsonl").open("ab") as file:
                file.write(line(index, in_order({**stats, **pictures}, info["features"])))

    def _write_table(self, index: int, columns: dict[str, NDArray[Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays, features = {}, {}
        for key, feature in self.info["features"].items():
            if key in columns:
                arrays[key], features[key] = column(columns[key])
            elif feature["dtype"] == "image":
                names = [
                    str(self.root / _IMAGE.format(image_key=key, episode_index=index, frame_index=frame))
                    for frame in range(len(columns["index"]))
                ]
                kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
                arrays[key] = pa.array([{"bytes": None, "path": name} for name in names], kind)
                features[key] = {"_type": "Image"}
        huggingface = json.dumps({"info": {"features": features}})
        table = pa.table(arrays).replace_schema_metadata({"huggingface": huggingface})
        path = self.root / _TABLE.format(episode_chunk=index // self.info["chunks_size"], episode_index=index)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)


def write_png(path: Path, picture: NDArray[np.uint8], level: int = 1) -> None:
    """Write (H, W, 3) as an 8-bit RGB PNG, each row filtered by Sub as OpenCV does it. `level`: of deflate, 1 to 12."""
    height, width, channels = picture.shape
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 1  # the filter's number: Sub
    flat = picture.reshape(height, -1)
    rows[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=rows[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = bytes(deflate.zlib_compress(rows.tobytes(), level))
    chunks = b"".join(_chunk(kind, content) for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _empty_info(fps: float, keys: dict[str, str], size: tuple[int, int], version: Version) -> dict[str, Any]:
    """info.json as LeRobot creates it, key by key."""
    dorobot, images = version.startswith("dorobot"), version == "dorobot-images"
    vector = {"dtype": "float32", "shape": [len(JOINTS)], "names": list(JOINTS)}
    camera = {"shape": [*size, 3], "names": ["height", "width", "channels"]}
    counters = {
        key: {"dtype": "float32" if key == "timestamp" else "int64", "shape": [1], "names": None} for key in COUNTERS
    }
    return {
        "codebase_version": "v2.0" if version == "v2.0" else "v2.1",
        **({"dorobot_dataset_version": "v1.0"} if dorobot else {}),
        "robot_type": "simulated_arm",
        **dict.fromkeys(("total_episodes", "total_frames", "total_tasks", "total_videos", "total_chunks"), 0),
        "chunks_size": 10_000 if dorobot else 1000,
        "fps": fps,
        "splits": {},
        "data_path": _TABLE,
        **({"image_path": _IMAGE if images else None} if dorobot else {}),
        "video_path": None if images else _VIDEO,
        **({"audio_path": None} if dorobot else {}),
        "features": {
            "observation.state": {**vector},
            "action": {**vector},
            **{key: {"dtype": "image" if images else "video", **camera} for key in keys.values()},
            **counters,
        },
    }


def column(values: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    """A column as the `datasets` library stores it, and how it describes it."""
    import pyarrow as pa

    value = {"dtype": str(values.dtype), "_type": "Value"}
    if values.ndim == 1:
        return pa.array(values), value
    width = values.shape[1]
    array = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)
    return array, {"feature": value, "length": width, "_type": "Sequence"}


def _append(path: Path, value: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")
