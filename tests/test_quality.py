"""The quality report: what is worth knowing of an episode, its clock above all."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.processors.metadata.clock import judge
from lerobot_data import (
    TOP,
    WRIST,
    change_info,
    finish,
    frame,
    info_of,
    recording,
    root,  # noqa: F401 - a fixture
    stats_lines,
    table,
    video,
)

if TYPE_CHECKING:
    from pathlib import Path


def quality(root: Path, episode: str = "episode_000000") -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / ".episoded" / episode / "quality.json").read_bytes())
    return value


class TestQuality:
    def test_counts_and_measures(self, root: Path) -> None:
        before = sum(frame(root, number, key).stat().st_size for number in range(5) for key in (TOP, WRIST))
        finish(root)
        report = quality(root)
        assert (report["schema"], report["episode"], report["frames"], report["fps"]) == (1, "episode_000000", 5, "30")
        assert report["duration_s"] == round(5 / 30, 6)
        assert report["bytes_before"] == before
        assert report["bytes_after"] == video(root).stat().st_size + video(root, WRIST).stat().st_size
        top = report["cameras"][0]
        assert (top["key"], top["frames_expected"], top["frames_found"], top["frames_stale"]) == (TOP, 5, 5, 0)
        assert (top["duplicates"], top["constant"], top["adopted"], top["codec"]) == (0, False, False, "h264")
        assert top["psnr_db"]["min"] > 30
        assert report["notes"] == []

    def test_stale_frames_and_a_dead_camera(self, root: Path) -> None:
        shutil.copy(frame(root, 0), frame(root, 5))
        for number in range(1, 5):
            shutil.copy(frame(root, 0, WRIST), frame(root, number, WRIST))
        finish(root)
        report = quality(root)
        top, wrist = report["cameras"]
        assert (top["frames_found"], top["frames_stale"]) == (6, 1)
        assert (wrist["constant"], wrist["duplicates"]) == (True, 4)
        assert any("stale" in note for note in report["notes"])
        assert any(note.startswith(f"{WRIST}: all 5 frames are the same") for note in report["notes"])
        assert frame(root, 5).exists()

    def test_orphans_and_totals_that_disagree(self, root: Path) -> None:
        shutil.copytree(frame(root, 0).parent, frame(root, 0, episode=2).parent)
        change_info(root, lambda info: info.update(total_episodes=3))
        finish(root)
        report = quality(root)
        assert [orphan["episode"] for orphan in report["orphans"]] == ["episode_000002"]
        assert "meta/info.json says total_episodes 3, meta/episodes.jsonl comes to 2" in report["notes"]

    def test_what_else_keeps_lerobot_from_opening_the_dataset(self, root: Path) -> None:
        (root / "meta/tasks.jsonl").unlink()
        path = root / "meta/episodes_stats.jsonl"
        path.write_bytes(b"{}\n\nnot json\n" + path.read_bytes())
        finish(root)
        assert quality(root)["notes"] == [
            "meta/tasks.jsonl is missing: LeRobot looks for the dataset on the Hub instead",
            "meta/episodes_stats.jsonl: line 3 is no JSON object: LeRobot refuses the dataset",
        ]

    def test_a_gap_in_the_episodes(self, tmp_path: Path) -> None:
        root = tmp_path / "gaps"
        for index in (1, 3):
            recording(root, episodes=1, start=index)
        finish(root)
        assert any("no episode 0" in note for note in quality(root, "episode_000001")["notes"])

    def test_a_video_that_was_there_already(self, root: Path) -> None:
        finish(root)
        shutil.rmtree(root / ".episoded")
        finish(root)
        camera = quality(root)["cameras"][0]
        assert (camera["adopted"], camera["psnr_db"], camera["bytes_before"]) == (True, None, None)
        assert stats_lines(root)[0][TOP]["count"] == [5]

    def test_sizes_that_info_json_got_wrong(self, root: Path) -> None:
        change_info(root, lambda info: info["features"][TOP].update(shape=[480, 640, 3]))
        finish(root)
        assert quality(root)["notes"] == [f"{TOP}: the frames are 64x48, meta/info.json says 640x480"]

    def test_without_an_encode_stage(self, root: Path) -> None:
        finish(root, stages=["metadata"], remove_inputs="keep")
        camera = quality(root)["cameras"][0]
        assert (camera["frames_found"], camera["codec"]) == (5, None)
        assert "info" not in info_of(root)["features"][TOP]


class TestClock:
    def test_an_even_clock(self) -> None:
        found = judge((np.arange(2000) / 30).astype(np.float32), Fraction(30))
        assert found is not None
        assert (found["monotonic"], found["dropped_estimate"], found["lerobot_accepts"]) == (True, 0, True)
        assert found["max_drift_s"] < 1e-4
        assert found["measured_fps"] == pytest.approx(30, abs=1e-3)

    def test_wall_clock_stamps(self) -> None:
        """Real ones: steps of 0.06 to 0.27 s at nominally 10 fps, counted from 1970."""
        stamps = 1.7e9 + np.cumsum([0, 0.06, 0.14, 0.27, 0.1, 0.1])
        found = judge(stamps, Fraction(10))
        assert found is not None
        assert found["first_s"] == 1.7e9
        assert found["max_drift_s"] == pytest.approx(0.17, abs=1e-5)
        assert found["longest_step_s"] == pytest.approx(0.27, abs=1e-5)
        assert (found["dropped_estimate"], found["lerobot_accepts"]) == (2, False)

    def test_a_clock_that_jumps_back(self) -> None:
        found = judge(np.array([0.0, 0.1, 0.05]), Fraction(10))
        assert found is not None
        assert found["monotonic"] is False

    @pytest.mark.parametrize("stamps", [[], [0.0, float("nan")], [float("inf")]])
    def test_stamps_that_are_no_numbers(self, stamps: list[float]) -> None:
        assert judge(np.array(stamps), Fraction(10)) is None

    def test_one_frame(self) -> None:
        found = judge(np.array([0.0], np.float32), Fraction(30))
        assert found is not None
        assert (found["measured_fps"], found["longest_step_s"], found["lerobot_accepts"]) == (None, None, True)

    def test_the_report_says_that_lerobot_will_refuse(self, root: Path) -> None:
        rows = pq.read_table(table(root))
        stamps = pa.array(np.array([0, 0.06, 0.2, 0.3, 0.4], np.float32))
        rows = rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", stamps)
        pq.write_table(rows, table(root))
        finish(root)
        assert any("LeRobot's loader" in note for note in quality(root)["notes"])
        assert quality(root)["timestamps"]["max_drift_s"] == pytest.approx(0.266667, abs=1e-4)
