"""The metadata stage: dataset files as LeRobot would have written them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from episoded.processors.errors import InputError, RetryableError
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
    info_of,
    lines_of,
    recording,
    root,  # noqa: F401 - a fixture
    stats_lines,
    table,
    video,
)

if TYPE_CHECKING:
    from pathlib import Path


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
