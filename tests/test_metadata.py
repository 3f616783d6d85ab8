"""The metadata stage: dataset files as LeRobot would have written them, and the quality report."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from episoded.processors.errors import InputError, RetryableError
from episoded.processors.lerobot.episode_stats import aggregate, is_valid_picture, line_of, of_columns, with_line
from episoded.processors.metadata.clock import judge
from episoded.processors.metadata.edits import episode_edits
from episoded.processors.metadata.info import finished_info, video_info
from episoded.processors.metadata.mend import mending_edits
from episoded.processors.metadata.params import MetadataParams
from episoded.processors.metadata.table import read_columns, without_columns
from lerobot_data import (
    LEROBOT,
    TOP,
    WRIST,
    change_info,
    embedded,
    finish,
    frame,
    info_of,
    lines_of,
    real,
    recording,
    table,
    video,
)

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = {"min": [[[0.0]]] * 3, "max": [[[1.0]]] * 3, "mean": [[[0.5]]] * 3, "std": [[[0.25]]] * 3, "count": [5]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return recording(tmp_path / "dataset")


def quality(root: Path, episode: str = "episode_000000") -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / ".episoded" / episode / "quality.json").read_bytes())
    return value


def stats_lines(root: Path) -> dict[int, dict[str, Any]]:
    return {line["episode_index"]: line["stats"] for line in lines_of(root / "meta/episodes_stats.jsonl")}


class TestInfo:
    def test_describes_each_camera_by_its_first_video(self, root: Path) -> None:
        received = info_of(root)
        finish(root)
        described = info_of(root)
        for key in (TOP, WRIST):
            assert described["features"][key].pop("info") == {
                "video.height": 48,
                "video.width": 64,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": 30,
                "video.channels": 3,
                "has_audio": False,
            }
        assert described == received

    def test_is_written_as_lerobot_writes_it(self, root: Path) -> None:
        change_info(root, lambda info: info.update(robot_type="Roboter für Übung"))
        finish(root)
        text = (root / "meta/info.json").read_text()
        assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False)
        assert "Roboter für Übung" in text

    @pytest.mark.parametrize("name", ["info", "video_info"])
    def test_null_and_keys_of_older_writers(self, root: Path, name: str) -> None:
        change_info(root, lambda info: info["features"][TOP].update({name: None}))
        finish(root)
        assert info_of(root)["features"][TOP]["info"]["video.codec"] == "h264"

    def test_what_the_recorder_claimed_wrongly_is_put_right_and_nothing_else(self, root: Path) -> None:
        claimed = {"video.codec": "mpeg4", "video.fps": 30.0, "video.height": 48, "made_by": "us"}
        change_info(root, lambda info: info["features"][TOP].update(info=claimed))
        finish(root)
        described = info_of(root)["features"][TOP]["info"]
        assert (described["video.codec"], described["made_by"]) == ("h264", "us")
        assert '"video.fps": 30.0' in (root / "meta/info.json").read_text()

    def test_videos_are_counted(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot")
        assert info_of(root)["total_videos"] == 0
        finish(root)
        assert info_of(root)["total_videos"] == 4
        assert info_of(root)["dorobot_dataset_version"] == "v1.0"

    def test_cameras_called_image_become_videos(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot-images")
        finish(root)
        info = info_of(root)
        assert [info["features"][key]["dtype"] for key in (TOP, WRIST)] == ["video", "video"]
        assert info["video_path"] == "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        assert info["total_videos"] == 4

    def test_placeholders_of_v3_become_those_that_lerobot_fills_in(self, root: Path) -> None:
        path = "videos/chunk-{chunk_index:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        change_info(root, lambda info: info.update(video_path=path))
        finish(root)
        assert info_of(root)["video_path"] == path.replace("chunk_index", "episode_chunk")

    def test_a_finished_file_is_not_touched(self, root: Path) -> None:
        finish(root)
        path = root / "meta/info.json"
        assert finished_info(path.read_bytes(), path, root, [0, 1]) is None

    def test_an_unreadable_first_video_gives_way_to_the_next(self, root: Path) -> None:
        finish(root)
        video(root).write_bytes(b"not a video")
        change_info(root, lambda info: info["features"][TOP].update(info=None))
        path = root / "meta/info.json"
        new = finished_info(path.read_bytes(), path, root, [0, 1])
        assert new is not None
        assert json.loads(new)["features"][TOP]["info"]["video.codec"] == "h264"

    def test_a_rate_written_as_a_fraction_becomes_a_number(self, root: Path) -> None:
        change_info(root, lambda info: info.update(fps="30/1"))
        finish(root)
        assert info_of(root)["fps"] == 30

    def test_half_of_it_is_tried_again(self, root: Path) -> None:
        path = root / "meta/info.json"
        with pytest.raises(RetryableError):
            finished_info(path.read_bytes()[:700], path, root, [0])

    def test_fractional_rates_are_cut_as_lerobot_cuts_them(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset", fps=29.97, episodes=1)
        finish(root)
        assert video_info(video(root))["video.fps"] == 29


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


class TestTable:
    def test_columns_of_mere_paths_go_and_the_recorded_file_is_kept(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot-images")
        received = table(root).read_bytes()
        before = pq.read_table(table(root))
        finish(root)
        after = pq.read_table(table(root))
        assert after.equals(before.drop_columns([TOP, WRIST]))
        assert set(json.loads(after.schema.metadata[b"huggingface"])["info"]["features"]) == set(after.column_names)
        assert (root / ".episoded/episode_000000/table_as_recorded").read_bytes() == received
        assert [path.name for path in sorted(root.rglob("*.parquet"))] == [f"episode_00000{n}.parquet" for n in (0, 1)]

    def test_pictures_in_the_table_stay_and_so_do_their_frames(self, tmp_path: Path) -> None:
        root = embedded(tmp_path / "embedded")
        received = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        finish(root)
        assert {path: path.read_bytes() for path in received} == received

    def test_they_may_stay(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot-images")
        received = table(root).read_bytes()
        finish(root, metadata={"drop_picture_columns": False})
        assert table(root).read_bytes() == received

    def test_a_table_without_them_is_not_rewritten(self, root: Path) -> None:
        received = table(root).read_bytes()
        finish(root)
        assert table(root).read_bytes() == received
        assert without_columns(received, [TOP]) is None

    def test_reads_vectors_matrices_and_scalars_in_their_shapes(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.parquet"
        columns = {
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "list": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64())),
            "matrix": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int64()))),
            "scalar": pa.array([1.5, 2.5], pa.float64()),
            "flag": pa.array([True, False]),
            "text": pa.array(["a", "b"]),
            "holes": pa.array([1.0, None]),
            "ragged": pa.array([[1], [2, 3]], pa.list_(pa.int64())),
        }
        pq.write_table(pa.table(columns), path)
        features = {name: {"dtype": "float32", "shape": [2, 2] if name == "matrix" else [2]} for name in columns}
        features["flag"]["dtype"] = "bool"
        features["absent"] = {"dtype": "float32", "shape": [1]}
        read = read_columns(path, features)
        assert {name: (array.shape, str(array.dtype)) for name, array in read.items()} == {
            "vector": ((2, 2), "float32"),
            "list": ((2, 2), "float32"),
            "matrix": ((2, 2, 2), "float32"),
            "scalar": ((2,), "float32"),
            "flag": ((2,), "bool"),
        }
        assert read["matrix"][1, 0, 1] == 6


class TestOutputOfItsOwn:
    def test_is_a_whole_dataset_and_the_recording_is_untouched(self, root: Path, tmp_path: Path) -> None:
        (root / "README.md").write_text("# Ours\n")
        (root / "meta/modality.json").write_text("{}")
        (root / "meta/stats.json").write_text('{"of": "v2.0"}')
        (root / "meta/.hidden").write_text("")
        received = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        output = finish(root, tmp_path / "finished", remove_inputs="keep")
        assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == received
        made = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
        assert {name for name in made if not name.startswith(".episoded")} == {
            "README.md",
            "meta/episodes.jsonl",
            "meta/episodes_stats.jsonl",
            "meta/info.json",
            "meta/modality.json",
            "meta/stats.json",
            "meta/tasks.jsonl",
            *(f"data/chunk-000/episode_00000{n}.parquet" for n in (0, 1)),
            *(f"videos/chunk-000/{key}/episode_00000{n}.mp4" for key in (TOP, WRIST) for n in (0, 1)),
        }
        assert stats_lines(output) == stats_lines(root)
        assert info_of(output)["features"][TOP]["info"]["video.codec"] == "h264"

    def test_statistics_that_the_recorder_computed_are_taken_over(self, root: Path, tmp_path: Path) -> None:
        path = root / "meta/episodes_stats.jsonl"
        path.write_text(path.read_text().replace('"count": [5]', '"count": [7]'))
        output = finish(root, tmp_path / "finished", remove_inputs="keep")
        assert (output / "meta/episodes_stats.jsonl").read_bytes() == path.read_bytes()

    def test_picture_columns_are_dropped_on_the_way(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot-images", episodes=1)
        output = finish(root, tmp_path / "finished", remove_inputs="keep")
        assert TOP not in pq.read_schema(table(output)).names
        assert TOP in pq.read_schema(table(root)).names

    def test_sound_comes_along(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot", episodes=1)
        sound = root / "audio/chunk-000/observation.audio.desk/episode_000000.wav"
        sound.parent.mkdir(parents=True)
        sound.write_bytes(b"RIFF")
        path = "audio/chunk-{episode_chunk:03d}/{audio_key}/episode_{episode_index:06d}.wav"
        change_info(root, lambda info: info.update(audio_path=path))
        change_info(root, lambda info: info["features"].update({"observation.audio.desk": {"dtype": "audio"}}))
        output = finish(root, tmp_path / "finished", remove_inputs="keep")
        assert (output / sound.relative_to(root)).read_bytes() == b"RIFF"

    def test_follows_a_recording_that_goes_on(self, root: Path, tmp_path: Path) -> None:
        output = finish(root, tmp_path / "finished", remove_inputs="keep")
        recording(root, episodes=1)
        for edit in mending_edits(LEROBOT.name, root, output):
            path = output / edit.target
            path.write_bytes(edit.derive(path.read_bytes()) or path.read_bytes())
        assert info_of(output)["total_episodes"] == 3
        assert info_of(output)["features"][TOP]["info"]["video.codec"] == "h264"
        assert len(lines_of(output / "meta/episodes.jsonl")) == 3


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


class TestStage:
    def test_settings_are_strict(self) -> None:
        with pytest.raises(ValidationError):
            MetadataParams.model_validate({"drop_columns": True})

    def test_edits_applied_twice_give_the_same(self, root: Path) -> None:
        finish(root)
        stats = stats_lines(root)[0]
        for edit in episode_edits(root, root, 0, stats):
            now = (root / edit.target).read_bytes()
            once = edit.derive(now) or now
            assert (edit.derive(once) or once) == once == now

    def test_a_table_that_went_away_is_named(self, root: Path) -> None:
        with pytest.raises(InputError, match=r"episode_000000\.parquet is missing"):
            read_columns(table(root).with_name("x") / "episode_000000.parquet", {})
