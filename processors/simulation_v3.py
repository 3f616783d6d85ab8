"""A simulated recording session as LeRobot's v3.0 recorder leaves it with its videos not encoded.

That is what deferred encoding (`batch_encoding_size` above 1) of lerobot 0.4.4 comes to, which never encodes: with its
files closed, after a crash, or killed. For tests and benchmarks.
"""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from .lerobot.episode_stats import aggregate, in_order
from .lerobot.picture_statistics import ImageStatistics, histogram, sample_indices
from .lerobot.statistics import of_columns, of_pictures
from .lerobot.v30.episodes import EpisodeRow, write_episodes
from .lerobot.v30.layout import DATA_PATH, EPISODES_PATH, TASKS_PATH, VIDEO_PATH, FileIndex
from .lerobot.v30.tasks import write_tasks
from .media.tiff import write_depth
from .simulation import COUNTERS, TASK, column, write_png
from .simulation_scene import JOINTS, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .lerobot.episode_stats import Stats

#: "finalized": all files closed. "crashed": the list of episodes was never written. "killed": no file was closed.
End = Literal["finalized", "crashed", "killed"]

DEPTH: Final = "observation.images.depth"
_IMAGE: Final = "images/{key}/episode-{index:06d}/frame-{frame:06d}.png"
_LISTED_AT_ONCE: Final = 10  # rows of meta/episodes that the recorder keeps back


def record(
    root: Path,
    episodes: int = 2,
    frames: int = 60,
    fps: float = 30,
    cameras: Sequence[str] = ("top", "wrist"),
    size: tuple[int, int] = (240, 320),
    end: End = "finalized",
    seed: int = 0,
    depth: bool = False,
) -> list[str]:
    """Record a session of `episodes` episodes of `frames` frames into the dataset at `root`; returns their ids.

    With `depth` there is one more camera, `observation.images.depth`, of 16-bit millimetres (LeRobot 0.6 and later).
    A dataset that is there is continued in new files, as LeRobot does it; it must have been finalized or finished.
    The same arguments give the same bytes.
    """
    session = Session(root, fps, cameras, size, seed, depth=depth)
    ids = [session.episode(frames) for _ in range(episodes)]
    session.close(end)
    return ids


class Session:
    """One run of the recorder: like LeRobot's it holds info.json in memory, and its tables until it closes them."""

    def __init__(
        self,
        root: Path,
        fps: float,
        cameras: Sequence[str],
        size: tuple[int, int],
        seed: int = 0,
        *,
        depth: bool = False,
    ) -> None:
        self.root, self.scene, self.size, self.depth = root, Scene(cameras, size, seed), size, depth
        self.keys = {camera: f"observation.images.{camera}" for camera in cameras}
        path = root / "meta/info.json"
        self.info = json.loads(path.read_bytes()) if path.is_file() else _empty_info(fps, self.keys, size, depth=depth)
        self.at = FileIndex(0, len(list(root.glob("data/chunk-000/*.parquet"))))
        self.rows: list[EpisodeRow] = []
        self.tables: list[Any] = []

    def episode(self, frames: int) -> str:
        """Record one episode; returns its id."""
        index = self.info["total_episodes"]
        columns: dict[str, list[NDArray[np.float32]]] = {"observation.state": [], "action": []}
        pictures = {key: ImageStatistics() for key in self.keys.values()}
        counted = frozenset(sample_indices(frames))
        for frame, step in enumerate(self.scene.episode(index, frames, float(self.info["fps"]))):
            columns["observation.state"].append(step.state)
            columns["action"].append(step.action)
            for camera, key in self.keys.items():
                self._write_frame(key, index, frame, step.pictures[camera])
                if frame in counted:
                    pictures[key].add(histogram(step.pictures[camera]))
            if self.depth:
                path = self._frame(DEPTH, index, frame).with_suffix(".tiff")
                write_depth(path, depth_picture(self.size, index, frame))
        arrays = {key: np.stack(rows) for key, rows in columns.items()} | self._counters(index, frames)
        stats = of_columns(arrays, Fraction(self.info["fps"]))
        stats |= {key: of_pictures(seen.counts, seen.frames) for key, seen in pictures.items()}
        self._save(index, frames, arrays, in_order(stats, self.info["features"]))
        return f"episode_{index:06d}"

    def close(self, end: End) -> None:
        """End the session one way or the other."""
        table = self.root / self.at.path(DATA_PATH)
        if end != "killed":
            table.write_bytes(self._table(closed=True))
        if end == "finalized":
            self._list(self.rows, closed=True)

    def _write_frame(self, key: str, index: int, frame: int, picture: NDArray[np.uint8]) -> None:
        write_png(self._frame(key, index, frame), picture)

    def _frame(self, key: str, index: int, frame: int) -> Path:
        path = self.root / _IMAGE.format(key=key, index=index, frame=frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _counters(self, index: int, frames: int) -> dict[str, NDArray[Any]]:
        numbers = np.arange(frames)
        return {
            "timestamp": (numbers / self.info["fps"]).astype(np.float32),
            "frame_index": numbers,
            "episode_index": np.full(frames, index),
            "index": numbers + self.info["total_frames"],
            "task_index": np.zeros(frames, np.int64),
        }

    def _save(self, index: int, frames: int, columns: dict[str, NDArray[Any]], stats: Stats) -> None:
        """As LeRobot does it: tasks, rows, the row of `meta/episodes` (kept back), info.json, stats.json."""
        import pyarrow as pa

        info, meta = self.info, self.root / "meta"
        meta.mkdir(exist_ok=True)
        if not (self.root / TASKS_PATH).is_file():
            write_tasks(self.root / TASKS_PATH, [TASK])
        made = {key: column(columns[key]) for key in info["features"] if key in columns}
        huggingface = json.dumps({"info": {"features": {key: about for key, (_, about) in made.items()}}})
        rows = pa.table({key: array for key, (array, _) in made.items()})
        self.tables.append(rows.replace_schema_metadata({"huggingface": huggingface.replace("Sequence", "List")}))
        path = self.root / self.at.path(DATA_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._table(closed=False))
        self.rows.append(EpisodeRow(index, (TASK,), frames, self.at, info["total_frames"], {}, stats))
        if len(self.rows) % _LISTED_AT_ONCE == 0:
            self._list(self.rows, closed=False)
        info |= {"total_episodes": index + 1, "total_frames": info["total_frames"] + frames, "total_tasks": 1}
        info["splits"] = {"train": f"0:{index + 1}"}
        (meta / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False))
        path = meta / "stats.json"
        known = [json.loads(path.read_bytes())] if path.is_file() else []
        path.write_text(json.dumps(aggregate([*known, stats]), indent=4))

    def _table(self, *, closed: bool) -> bytes:
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        with pq.ParquetWriter(sink, self.tables[0].schema) as writer:
            for rows in self.tables:
                writer.write_table(rows)
        return sink.getvalue() if closed else without_footer(sink.getvalue())

    def _list(self, rows: list[EpisodeRow], *, closed: bool) -> None:
        at = FileIndex(0, len({row.data for row in rows}) - 1 + self.at.file)
        path = self.root / at.path(EPISODES_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        sink = io.BytesIO()
        write_episodes(sink, rows, at)
        path.write_bytes(sink.getvalue() if closed else without_footer(sink.getvalue()))


def without_footer(parquet: bytes) -> bytes:
    """A parquet file as it is before its writer closes it: the row groups are there, nothing says where."""
    return parquet[: -8 - int.from_bytes(parquet[-8:-4], "little")]


def depth_picture(size: tuple[int, int], index: int, frame: int) -> NDArray[np.uint16]:
    """Depth in mm (H, W) of a plane that recedes from frame to frame, with a patch without readings."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    picture: NDArray[np.uint16] = (400 + 25 * frame + 100 * index + 7 * columns + 3 * rows).astype(np.uint16)
    picture[: size[0] // 8, : size[1] // 8] = 0
    return picture


def _empty_info(fps: float, keys: dict[str, str], size: tuple[int, int], *, depth: bool) -> dict[str, Any]:
    """info.json as LeRobot creates it, key by key."""
    vector = {"dtype": "float32", "shape": [len(JOINTS)], "names": list(JOINTS)}
    camera = {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    depth_camera = {**camera, "shape": [*size, 1], "info": {"is_depth_map": True, "depth_unit": "mm"}}
    counters = {
        key: {"dtype": "float32" if key == "timestamp" else "int64", "shape": [1], "names": None} for key in COUNTERS
    }
    return {
        "codebase_version": "v3.0",
        "robot_type": "simulated_arm",
        **dict.fromkeys(("total_episodes", "total_frames", "total_tasks"), 0),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": {
            "observation.state": {**vector},
            "action": {**vector},
            **{key: {**camera} for key in keys.values()},
            **({DEPTH: depth_camera} if depth else {}),
            **counters,
        },
    }
