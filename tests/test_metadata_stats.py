"""Statistics of an episode, and of a dataset, as LeRobot would have written them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from episoded.processors.errors import RetryableError
from episoded.processors.lerobot.episode_stats import aggregate, is_valid_picture, line_of, of_columns, with_line
from episoded.processors.metadata.mend import mending_edits
from lerobot_data import (
    LEROBOT,
    TOP,
    WRIST,
    finish,
    lines_of,
    real,
    recording,
    root,  # noqa: F401 - a fixture
    stats_lines,
)

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = {"min": [[[0.0]]] * 3, "max": [[[1.0]]] * 3, "mean": [[[0.5]]] * 3, "std": [[[0.25]]] * 3, "count": [5]}


class TestEpisodeStats:
    def test_valid_lines_stay_byte_for_byte(self, tmp_path: Path) -> None:
        root = real("pending/g1_v21", tmp_path / "g1")
        received = (root / "meta/episodes_stats.jsonl").read_bytes()
        finish(root)
        assert (root / "meta/episodes_stats.jsonl").read_bytes() == received

    def test_a_file_that_was_never_written_is_computed_whole(self, root: Path) -> None:
        path = root / "meta/episodes_stats.jsonl"
        recorded = path.read_bytes()
        path.unlink()
        finish(root)
        assert path.read_bytes() == recorded

    @pytest.mark.parametrize(
        "entry", [None, {}, {**PICTURE, "mean": [0.5, 0.5, 0.5]}, {**PICTURE, "std": [[[float("nan")]]] * 3}]
    )
    def test_cameras_without_valid_statistics_get_them(self, root: Path, entry: dict[str, Any] | None) -> None:
        path = root / "meta/episodes_stats.jsonl"
        recorded = path.read_bytes()
        lines = lines_of(path)
        del lines[1]["stats"][TOP]
        if entry is not None:
            lines[1]["stats"][TOP] = entry
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        finish(root)
        assert path.read_bytes() == recorded

    def test_the_statistics_outlive_the_frames(self, root: Path) -> None:
        recorded = (root / "meta/episodes_stats.jsonl").read_bytes()
        finish(root)
        assert not (root / "images").exists()
        (root / "meta/episodes_stats.jsonl").unlink()
        for edit in mending_edits(LEROBOT.name, root, root):
            if edit.target.name == "episodes_stats.jsonl":
                assert edit.derive(None) == recorded

    def test_other_lines_and_their_order_are_left_alone(self) -> None:
        others = b'{"stats": {},   "episode_index":10}\n{"episode_index": 1, "stats": {"odd": 1e-5}}\nnot json\n'
        new = with_line(others, 0, {"a": {"min": [0]}}, ())
        assert new == others + b'{"episode_index": 0, "stats": {"a": {"min": [0]}}}\n'
        assert with_line(new, 0, {"a": {"min": [0]}}, ()) == new

    @pytest.mark.parametrize("torn", [b'{"episode_index": 1, "stats": {"a": {"mi', b'{"episode_index": 1'])
    def test_a_last_line_that_was_cut_off_is_computed_again(self, torn: bytes) -> None:
        whole = b'{"episode_index": 0, "stats": {}}\n'
        assert with_line(whole + torn, 1, {}, ()) == whole + b'{"episode_index": 1, "stats": {}}\n'

    def test_a_last_line_without_its_end_is_kept(self) -> None:
        whole = b'{"episode_index": 0, "stats": {}}'
        assert with_line(whole, 1, {}, ()) == whole + b'\n{"episode_index": 1, "stats": {}}\n'

    def test_the_last_of_two_lines_counts(self) -> None:
        content = b'{"episode_index": 0, "stats": {"a": 1}}\n{"episode_index": 0, "stats": {"a": 2}}\n'
        assert line_of(content, 0) == b'{"episode_index": 0, "stats": {"a": 2}}'
        assert line_of(content, 1) is None

    def test_time_stamps_count_as_the_recorder_had_them(self) -> None:
        """LeRobot computes them from doubles and stores float32: 1/30 has two values there."""
        stamps = (np.arange(7) / 30).astype(np.float32)
        assert of_columns({"timestamp": stamps}, Fraction(30))["timestamp"]["max"] == [6 / 30]
        assert of_columns({"timestamp": stamps + 1}, Fraction(30))["timestamp"]["max"] == [float(stamps[6] + 1)]

    @pytest.mark.parametrize(
        ("entry", "valid"),
        [
            (PICTURE, True),
            ({**PICTURE, "count": [0]}, False),
            ({**PICTURE, "count": 5}, False),
            ({**PICTURE, "max": [[[255.0]]] * 3}, False),
            ({**PICTURE, "std": [[[0.0]]] * 3}, False),
            ({**PICTURE, "min": [[[0.9]]] * 3}, False),
            ({**PICTURE, **dict.fromkeys(("min", "max", "mean"), [[[0.0]]] * 3), "std": [[[0.0]]] * 3}, True),
            ({key: value for key, value in PICTURE.items() if key != "count"}, True),
            ({key: value for key, value in PICTURE.items() if key != "std"}, False),
            ([], False),
        ],
    )
    def test_knows_valid_picture_statistics(self, entry: object, valid: bool) -> None:
        assert is_valid_picture(entry) is valid


class TestAggregate:
    def test_is_the_same_as_over_all_rows(self) -> None:
        rng = np.random.default_rng(0)
        parts = [rng.normal(index, 1 + index, (length, 3)) for index, length in enumerate((5, 40, 1))]
        together = aggregate([of_columns({"x": part}, Fraction(30)) for part in parts])["x"]
        whole = of_columns({"x": np.concatenate(parts)}, Fraction(30))["x"]
        for name, values in whole.items():
            np.testing.assert_allclose(together[name], values, rtol=1e-12)

    def test_a_v20_dataset_gets_its_one_file(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "v20", version="v2.0")
        same = recording(tmp_path / "v21")
        finish(root)
        assert not (root / "meta/episodes_stats.jsonl").exists()
        stats = json.loads((root / "meta/stats.json").read_bytes())
        assert stats == aggregate(list(stats_lines(same).values()))
        assert stats[TOP]["count"] == [10]

    def test_what_a_v20_recorder_computed_stays(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "v20", version="v2.0")
        theirs = {"action": {"min": [7.0]}, TOP: {key: PICTURE[key] for key in ("min", "max", "mean", "std")}}
        (root / "meta/stats.json").write_text(json.dumps(theirs))
        finish(root)
        stats = json.loads((root / "meta/stats.json").read_bytes())
        assert {key: stats[key] for key in theirs} == theirs
        assert stats[WRIST]["count"] == [10]

    def test_half_of_that_file_is_tried_again(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "v20", version="v2.0")
        finish(root)
        [edit] = [edit for edit in mending_edits(LEROBOT.name, root, root) if edit.target.name == "stats.json"]
        with pytest.raises(RetryableError):
            edit.derive((root / "meta/stats.json").read_bytes()[:100])
