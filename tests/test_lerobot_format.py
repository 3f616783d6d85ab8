"""Episodes of LeRobot v2.x datasets: what is read, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from lerobot_data import (
    FIRST,
    LEROBOT,
    POINTER,
    SECOND,
    TOP,
    WRIST,
    change_info,
    embedded,
    finish,
    frame,
    load,
    real,
    recording,
    refused,
    root,  # noqa: F401 - a fixture
    table,
    video,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class TestLoading:
    def test_frame_k_is_row_k(self, root: Path) -> None:
        episode = load(root, SECOND)
        assert (episode.id, episode.index, episode.length, episode.fps) == (SECOND, 1, 5, 30)
        assert episode.table == table(root, 1)
        assert [camera.key for camera in episode.cameras] == [TOP, WRIST]
        for camera in episode.cameras:
            assert camera.frames is not None
            assert camera.frames.paths == tuple(frame(root, number, camera.key, 1) for number in range(5))
            assert camera.frames.stale == ()
            assert root / camera.video == video(root, camera.key, 1)
            assert camera.shape == (48, 64)

    def test_an_episode_may_have_one_frame(self, tmp_path: Path) -> None:
        assert load(recording(tmp_path / "one", frames=1)).length == 1

    def test_more_than_a_million_frames_and_episodes_keep_their_order(self, root: Path) -> None:
        recording(root, episodes=1, frames=1, start=1_234_567)
        assert load(root, "episode_1234567").index == 1_234_567

    def test_a_dorobot_recording(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dorobot", version="dorobot")
        assert [len(camera.frames.paths) for camera in load(root).cameras if camera.frames] == [5, 5]

    def test_cameras_called_image_whose_frames_lie_outside_of_the_table(self, tmp_path: Path) -> None:
        episode = load(recording(tmp_path / "dorobot", version="dorobot-images"))
        assert [len(camera.frames.paths) for camera in episode.cameras if camera.frames] == [5, 5]
        assert episode.cameras[0].video == PurePosixPath(f"videos/chunk-000/{TOP}/{FIRST}.mp4")

    def test_pictures_inside_the_table_are_left_there(self, tmp_path: Path) -> None:
        episode = load(embedded(tmp_path / "embedded"))
        assert episode.cameras == ()
        assert all("inside the parquet file" in note for note in episode.notes)
        assert len(episode.notes) == 2

    @pytest.mark.parametrize("folder", [f"{TOP}/episode-000000", "top/episode_000000", "top/episode-000000"])
    def test_finds_the_folder_under_the_names_in_use(self, root: Path, folder: str) -> None:
        new = root / "images" / folder
        new.parent.mkdir(exist_ok=True)
        frame(root, 0).parent.rename(new)
        for number in range(5):
            (new / f"frame_{number:06d}.png").rename(new / f"frame-{number:06d}.png")
        source = load(root).cameras[0].frames
        assert source is not None
        assert source.paths[4] == new / "frame-000004.png"

    def test_a_short_folder_name_that_fits_two_cameras_fits_none(self, root: Path) -> None:
        change_info(root, lambda info: info["features"].update({"extra.top": info["features"][TOP]}))
        frame(root, 0).parents[1].rename(root / "images/top")
        assert refused(root).code == "frames_missing"

    def test_follows_the_template_of_the_dataset(self, root: Path) -> None:
        template = "pictures/{image_key}/{episode_index}/{frame_index:06d}.png"
        change_info(root, lambda info: info.update(image_path=template))
        for key in (TOP, WRIST):
            new = root / "pictures" / key / "0"
            new.parent.mkdir(parents=True)
            frame(root, 0, key).parent.rename(new)
        source = load(root).cameras[1].frames
        assert source is not None
        assert source.directory == root / "pictures" / WRIST / "0"

    @pytest.mark.parametrize("name", ["with space", "Ünïcödé 机器人", "new\nline", "a:b", "-dash", "100%"])
    def test_names_of_folders_do_not_matter(self, tmp_path: Path, name: str) -> None:
        root = recording(tmp_path / name, cameras=("links vorn ü",), episodes=1)
        assert load(root).cameras[0].key == "observation.images.links vorn ü"
        assert LEROBOT.upload(root, FIRST).missing == ()

    def test_frames_beyond_the_episode_are_kept_apart(self, root: Path) -> None:
        """lerobot#4109: a discarded take was longer, and its last frames stayed."""
        for number in (5, 6, 9):
            shutil.copy(frame(root, 0), frame(root, number))
        episode = load(root)
        source = episode.cameras[0].frames
        assert source is not None
        assert source.stale == (frame(root, 5), frame(root, 6), frame(root, 9))
        assert len(source.paths) == 5
        assert "3 stale frames from frame_000005.png on" in episode.notes[0]

    def test_a_video_that_is_there_stands_in_for_frames_that_are_gone(self, root: Path) -> None:
        finish(root)
        assert [camera.frames for camera in load(root).cameras] == [None, None]

    def test_a_video_beside_half_of_the_frames(self, root: Path) -> None:
        """LeRobot was killed while it removed the frames that it had encoded."""
        finish(root, remove_inputs="keep")
        frame(root, 0).unlink()
        episode = load(root)
        assert episode.cameras[0].frames is None
        assert episode.notes == (f"{TOP}: 4 of 5 frames lie beside a finished video; they are left alone",)


class TestRefusals:
    @pytest.mark.parametrize(
        ("gone", "told"),
        [
            ([2], "frame_000002.png missing in "),
            ([0], "frame_000000.png missing in "),
            ([4], "frame_000004.png missing in "),
            ([0, 1, 2, 3], "frame_000000.png, frame_000001.png, frame_000002.png and 1 more missing in "),
        ],
    )
    def test_a_missing_frame_is_named_and_nothing_is_shifted(self, root: Path, gone: list[int], told: str) -> None:
        for number in gone:
            frame(root, number).unlink()
        error = refused(root)
        assert error.code == "frames_missing"
        assert error.message.startswith(f"{TOP} of episode_000000: {told}")
        assert error.message.endswith(f"{5 - len(gone)} of 5 frames are there")

    def test_numbers_that_start_elsewhere_are_not_moved(self, root: Path) -> None:
        for number in range(4, -1, -1):
            frame(root, number).rename(frame(root, number + 100))
        assert "frame_000000.png, frame_000001.png" in refused(root).message

    def test_neither_frames_nor_video(self, root: Path) -> None:
        shutil.rmtree(root / "images")
        error = refused(root)
        assert error.code == "frames_missing"
        assert f"no frames in images/{TOP}/episode_000000 and no video" in error.message

    def test_two_files_with_one_number(self, root: Path) -> None:
        shutil.copy(frame(root, 1), frame(root, 0).with_name("frame-000001.png"))
        assert refused(root).code == "frames_ambiguous"

    def test_two_folders_for_one_camera(self, root: Path) -> None:
        shutil.copytree(frame(root, 0).parent, root / f"images/{TOP}/episode-000000")
        assert refused(root).code == "frames_ambiguous"
        assert "two places" in LEROBOT.upload(root, FIRST).missing[0]

    def test_frames_that_are_no_png(self, root: Path) -> None:
        for number in range(5):
            frame(root, number).rename(frame(root, number).with_suffix(".jpg"))
        error = refused(root)
        assert error.code == "frames_not_png"
        assert "frame_000000.jpg" in error.message

    def test_a_video_in_a_folder_that_info_json_does_not_name(self, root: Path) -> None:
        finish(root)
        (root / "videos").rename(root / "video")
        error = refused(root)
        assert error.code == "video_misplaced"
        assert str(root / "video/chunk-000") in error.message

    def test_a_pointer_in_place_of_the_video(self, root: Path) -> None:
        finish(root)
        video(root).write_bytes(POINTER)
        assert refused(root).code == "lfs_pointer"

    def test_a_table_of_another_take(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": [], "length": 4}\n')
        error = refused(root)
        assert error.code == "rows_mismatch"
        assert "has 5 rows, meta/episodes.jsonl says 4 frames" in error.message

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            (lambda path: path.unlink(), "table_missing"),
            (lambda path: path.write_bytes(POINTER), "lfs_pointer"),
            (lambda path: path.write_bytes(b""), "table_unreadable"),
            (lambda path: path.write_bytes(b"PAR1" + bytes(50) + b"PAR1"), "table_unreadable"),
            (lambda path: os.truncate(path, 1500), "table_unreadable"),
        ],
    )
    def test_a_table_that_cannot_be_read(self, root: Path, spoil: Callable[[Path], object], code: str) -> None:
        spoil(table(root))
        error = refused(root)
        assert error.code == code
        assert str(table(root)) in error.message
        assert load(root, SECOND).length == 5

    def test_rows_out_of_order(self, root: Path) -> None:
        rows = pq.read_table(table(root))
        pq.write_table(rows.take([0, 2, 1, 3, 4]), table(root))
        error = refused(root)
        assert error.code == "frame_index_broken"
        assert "row 1 has frame_index 2" in error.message

    def test_a_table_without_counters_is_understood(self, root: Path) -> None:
        rows = pq.read_table(table(root))
        pq.write_table(rows.drop_columns(["index", "task_index", "frame_index"]), table(root))
        assert load(root).length == 5

    def test_an_episode_without_frames(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": [], "length": 0}\n')
        assert refused(root).code == "episode_empty"

    @pytest.mark.parametrize("episode", ["episode_000009", "episode_0", "../episode_000000", ""])
    def test_an_id_that_is_none(self, root: Path, episode: str) -> None:
        assert refused(root, episode).code == "episode_unknown"

    def test_the_real_interrupted_session(self, tmp_path: Path) -> None:
        root = real("pending/franka_v21_interrupted", tmp_path / "franka")
        assert refused(root).code == "table_missing"
        assert refused(root, SECOND).code == "episode_unknown"


class TestSymlinks:
    @pytest.mark.parametrize(
        "place",
        [
            f"images/{TOP}/episode_000000/frame_000003.png",
            f"images/{TOP}/episode_000000",
            f"images/{TOP}",
            "images",
            "data/chunk-000/episode_000000.parquet",
            "data",
            "meta",
        ],
    )
    def test_that_lead_out_of_the_dataset_are_refused(self, root: Path, place: str) -> None:
        outside = root.parent / "outside"
        (root / place).rename(outside)
        (root / place).symlink_to(outside)
        error = refused(root)
        assert error.code == "symlink_outside"
        assert str(outside) in error.message

    def test_nothing_is_written_outside_either(self, root: Path) -> None:
        (root.parent / "elsewhere").mkdir()
        (root / "videos").symlink_to(root.parent / "elsewhere")
        assert refused(root).code == "symlink_outside"

    def test_that_stay_inside_are_followed(self, root: Path) -> None:
        (root / "images").rename(root / "pictures")
        (root / "images").symlink_to("pictures")
        assert load(root).length == 5

    def test_the_dataset_itself_may_be_reached_through_one(self, root: Path) -> None:
        link = root.parent / "link"
        link.symlink_to(root)
        assert load(link).length == 5
