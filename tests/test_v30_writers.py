"""What is written into `meta/` of a v3.0 dataset: statistics, episodes, tasks, info.

The expected statistics are what `get_feature_stats` of lerobot 0.4.4 gives of the same arrays (numpy 2.4).
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.processors.lerobot import statistics
from episoded.processors.lerobot.episode_stats import QUANTILES, aggregate
from episoded.processors.lerobot.picture_statistics import histogram
from episoded.processors.lerobot.v30.episodes import EpisodeRow, VideoPart, write_episodes
from episoded.processors.lerobot.v30.info import v30_info
from episoded.processors.lerobot.v30.layout import EPISODES_PATH, VIDEO_PATH, FileIndex
from episoded.processors.lerobot.v30.tasks import read_tasks, write_tasks
from lerobot_data import info_of, recording

if TYPE_CHECKING:
    from pathlib import Path

FPS = Fraction(30)


def same(found: Any, expected: Any, *, within: float = 1e-12) -> bool:
    return bool(np.allclose(np.asarray(found, float), np.asarray(expected, float), rtol=0, atol=within))


class TestStatistics:
    STEPS = np.arange(20)
    STATE = np.stack([np.sin(STEPS / 3), STEPS / 7 - 1], 1).astype(np.float32)
    PICTURES = (np.arange(6 * 3 * 4 * 5).reshape(6, 3, 4, 5) * 7 % 251).astype(np.uint8)

    def test_a_vector_has_lerobots_numbers(self):
        entry = statistics.of_columns({"observation.state": self.STATE}, FPS)["observation.state"]
        lerobot = {
            "min": [-0.9989548921585083, -1.0],
            "max": [0.9954079389572144, 1.7142857313156128],
            "mean": [0.0014399817446246743, 0.357142835855484],
            "count": [20],
            "q01": [-0.9989548921585083, -1.0],
            "q10": [-0.9586687684059143, -0.8566856980323792],
            "q50": [0.00022089481353759766, 0.2860286235809326],
            "q90": [0.9096503257751465, 1.4287428855895996],
            "q99": [0.995328164100647, 1.714177179336548],
        }
        # numpy 1 reckons the edges of the bins in doubles: 1e-7 is what float32 holds.
        assert all(same(entry[name], value, within=2e-7) for name, value in lerobot.items())
        assert same(entry["std"], [0.6866192817687988, 0.8237544298171997], within=1e-6)
        assert list(entry) == ["min", "max", "mean", "std", "count", *QUANTILES]

    def test_a_counter_has_lerobots_numbers(self):
        entry = statistics.of_columns({"frame_index": self.STEPS}, FPS)["frame_index"]
        assert entry["min"] == [0]
        assert entry["max"] == [19]
        assert same(entry["std"], [5.766281297335398])
        lerobot = [-1e-10, 1.0031999999105599, 9.002199999994758, 17.00120000007896, 18.99924000009999]
        assert same([entry[name][0] for name in QUANTILES], lerobot)

    def test_time_stamps_are_what_the_recorder_had(self):
        stamps = (self.STEPS / 30).astype(np.float32)
        assert statistics.of_columns({"timestamp": stamps}, FPS)["timestamp"]["max"] == [19 / 30]

    def test_of_one_row_the_quantiles_are_its_values(self):
        entry = statistics.of_columns({"observation.state": self.STATE[:1]}, FPS)["observation.state"]
        assert all(entry[name] == [0.0, -1.0] for name in ("min", "max", "mean", *QUANTILES))
        assert entry["std"] == [0.0, 0.0]

    def test_pictures_have_lerobots_quantiles(self):
        counts = sum(histogram(picture.transpose(1, 2, 0)) for picture in self.PICTURES)
        entry = statistics.of_pictures(counts, frames=6)
        lerobot = {
            "min": [0.0, 0.00392156862745098, 0.00392156862745098],
            "max": [0.9647058823529412, 0.9803921568627451, 0.9764705882352941],
            "mean": [0.46578431372549023, 0.48983660130718953, 0.5056862745098039],
            "q01": [-3.9215686274509807e-13, 0.00786650980353258, 0.011721411764320015],
            "q10": [0.07466823529378619, 0.0785239215682952, 0.12159999999970272],
            "q50": [0.4590070588235104, 0.47458039215684855, 0.5098415686274669],
            "q90": [0.8472047058826496, 0.8981733333336593, 0.8941929411767963],
            "q99": [0.9569496470592095, 0.9725413333337191, 0.968670745098425],
        }
        assert all(same(entry[name], np.reshape(value, (3, 1, 1))) for name, value in lerobot.items())
        assert entry["count"] == [6]

    def test_the_spread_of_pictures_does_not_overflow(self):
        counts = sum(histogram(picture.transpose(1, 2, 0)) for picture in self.PICTURES)
        true = self.PICTURES.transpose(1, 0, 2, 3).reshape(3, -1).std(axis=1) / 255
        assert same(statistics.of_pictures(counts, frames=6)["std"], true.reshape(3, 1, 1))

    def test_a_small_spread_far_from_zero_survives(self):
        column = (90 + 0.01 * np.sin(np.arange(1000)))[:, None].astype(np.float32)
        entry = statistics.of_columns({"joint": column}, FPS)["joint"]
        assert entry["std"][0] == pytest.approx(column.astype(np.float64).std(), rel=1e-6)

    def test_a_matrix_is_taken_over_all_axes_but_the_last(self):
        values = np.arange(24.0).reshape(4, 3, 2)
        entry = statistics.of_columns({"pose": values}, FPS)["pose"]
        assert same(entry["mean"], values.reshape(-1, 2).mean(axis=0))
        assert entry["count"] == [4]

    def test_a_flag_stays_a_flag(self):
        entry = statistics.of_columns({"done": np.array([False, False, True])}, FPS)["done"]
        assert entry["min"] == [False]
        assert entry["max"] == [True]

    def test_episodes_come_together_one_after_another(self):
        parts = [statistics.of_columns({"a": self.STATE[low:high]}, FPS) for low, high in ((0, 5), (5, 9), (9, 20))]
        running = aggregate([aggregate(parts[:2]), parts[2]])["a"]
        assert same(running["mean"], self.STATE.mean(axis=0), within=1e-6)
        assert same(running["std"], self.STATE.std(axis=0), within=1e-6)
        weighted = sum(np.multiply(part["a"]["q50"], part["a"]["count"][0]) for part in parts) / 20
        assert same(running["q50"], weighted)


def row(index: int, **changes: Any) -> EpisodeRow:
    part = VideoPart(FileIndex(0, 1), Fraction(index * 5, 30), Fraction(index * 5 + 5, 30))
    stats = {"action": {"min": [0.0, 1.0], "count": [5]}, "top": {"min": [[[0.0]], [[0.1]], [[0.2]]], "count": [5]}}
    given = {"tasks": ("Fetch.",), "length": 5, "data": FileIndex(), "first": index * 5, "videos": {"top": part}}
    return EpisodeRow(index=index, **{**given, "stats": stats, **changes})


class TestEpisodes:
    def test_columns_and_types_are_lerobots(self, tmp_path: Path):
        write_episodes(tmp_path / "file", [row(0), row(1)])
        schema = pq.read_schema(tmp_path / "file")
        numbers = pa.list_(pa.field("element", pa.float64()))
        assert [(field.name, field.type) for field in schema] == [
            ("episode_index", pa.int64()),
            ("tasks", pa.list_(pa.field("element", pa.string()))),
            *((name, pa.int64()) for name in ("length", "data/chunk_index", "data/file_index")),
            *((name, pa.int64()) for name in ("dataset_from_index", "dataset_to_index")),
            *((f"videos/top/{name}", pa.int64()) for name in ("chunk_index", "file_index")),
            *((f"videos/top/{name}", pa.float64()) for name in ("from_timestamp", "to_timestamp")),
            ("stats/action/min", numbers),
            ("stats/action/count", pa.list_(pa.field("element", pa.int64()))),
            ("stats/top/min", pa.list_(pa.field("element", pa.list_(pa.field("element", numbers))))),
            ("stats/top/count", pa.list_(pa.field("element", pa.int64()))),
            *((name, pa.int64()) for name in ("meta/episodes/chunk_index", "meta/episodes/file_index")),
        ]

    def test_rows_read_back(self, tmp_path: Path):
        write_episodes(tmp_path / "file", [row(index) for index in range(250)], FileIndex(0, 3))
        rows = pq.read_table(tmp_path / "file").to_pylist()
        assert [one["episode_index"] for one in rows] == list(range(250))
        assert (rows[7]["dataset_from_index"], rows[7]["dataset_to_index"]) == (35, 40)
        assert rows[7]["videos/top/from_timestamp"] == 35 / 30
        assert rows[7]["meta/episodes/file_index"] == 3

    def test_what_an_episode_lacks_is_null(self, tmp_path: Path):
        write_episodes(tmp_path / "file", [row(0), row(1, stats={}, extra={"success": True})])
        rows = pq.read_table(tmp_path / "file").to_pylist()
        assert rows[1]["stats/action/min"] is None
        assert [one["success"] for one in rows] == [None, True]

    def test_whole_numbers_and_fractions_share_a_column(self, tmp_path: Path):
        write_episodes(tmp_path / "file", [row(0, stats={"a": {"min": [0]}}), row(1, stats={"a": {"min": [0.5]}})])
        assert pq.read_table(tmp_path / "file").column("stats/a/min").to_pylist() == [[0.0], [0.5]]

    def test_rows_out_of_order_are_refused(self, tmp_path: Path):
        with pytest.raises(ValueError, match="episode 2 after episode 0"):
            write_episodes(tmp_path / "file", [row(0), row(2)])


class TestTasks:
    def test_they_read_back_by_position(self, tmp_path: Path):
        write_tasks(tmp_path / "tasks", ["Öffne die Tür.", "Close it."])
        assert read_tasks(tmp_path / "tasks") == ["Öffne die Tür.", "Close it."]

    def test_pandas_is_told_of_its_index(self, tmp_path: Path):
        write_tasks(tmp_path / "tasks", ["Fetch."])
        note = json.loads(pq.read_schema(tmp_path / "tasks").metadata[b"pandas"])
        assert note["index_columns"] == ["__index_level_0__"]


class TestInfo:
    def test_v21_becomes_v30(self, tmp_path: Path):
        raw = info_of(recording(tmp_path / "d"))
        info = v30_info({**raw, "dorobot_dataset_version": "v1.0"}, episodes=2, frames=10, tasks=1)
        assert list(info)[:13] == [
            "codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks", "chunks_size",
            "data_files_size_in_mb", "video_files_size_in_mb", "fps", "splits", "data_path", "video_path", "features",
        ]  # fmt: skip
        assert info["codebase_version"] == "v3.0"
        assert info["splits"] == {"train": "0:2"}
        assert info["dorobot_dataset_version"] == "v1.0"
        assert not {"total_videos", "total_chunks"} & set(info)

    def test_v30_keeps_its_own_sizes(self, tmp_path: Path):
        raw = v30_info(info_of(recording(tmp_path / "d")), episodes=2, frames=10, tasks=1)
        again = v30_info({**raw, "video_files_size_in_mb": 7}, episodes=3, frames=15, tasks=1)
        assert again["video_files_size_in_mb"] == 7
        assert again["total_episodes"] == 3


class TestLayout:
    def test_a_full_chunk_is_followed_by_the_next(self):
        assert FileIndex(0, 998).following() == FileIndex(0, 999)
        assert FileIndex(0, 999).following() == FileIndex(1, 0)

    def test_paths(self):
        assert str(FileIndex(1, 2).path(VIDEO_PATH, "top")) == "videos/top/chunk-001/file-002.mp4"
        assert str(FileIndex().path(EPISODES_PATH)) == "meta/episodes/chunk-000/file-000.parquet"
