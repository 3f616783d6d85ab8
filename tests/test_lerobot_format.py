"""LeRobot v2.x datasets as they arrive: what is listed, what is still missing, what can be read, what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from episoded.processors import formats
from episoded.processors.errors import InputError, RetryableError
from episoded.processors.formats.lerobot_info import parse_fps, read_info
from episoded.processors.formats.whole import mp4_ends
from episoded.processors.metadata.mend import mending_edits
from lerobot_data import (
    DATA,
    LEROBOT,
    POINTER,
    TOP,
    WRIST,
    change_info,
    embedded,
    finish,
    frame,
    real,
    recording,
    table,
    video,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from episoded.processors.episode import Episode

FIRST, SECOND = "episode_000000", "episode_000001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return recording(tmp_path / "dataset")


def load(root: Path, episode: str = FIRST) -> Episode:
    return LEROBOT.load(root, episode, root)


def refused(root: Path, episode: str = FIRST) -> InputError:
    with pytest.raises(InputError) as caught:
        load(root, episode)
    assert caught.value.hint
    return caught.value


class TestDetection:
    def test_a_folder_with_info_json_is_a_dataset(self, root: Path) -> None:
        assert formats.detect(root) is LEROBOT
        assert formats.detect(root / "meta") is None

    def test_costs_no_heavy_import(self) -> None:
        code = (
            "import sys, episoded.processors.formats;"
            "print(sorted({'av', 'numpy', 'pyarrow', 'pydantic', 'torch'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    @pytest.mark.parametrize("name", [".frame_000001.png.Xy12Zk", "a.part", "b.tmp", "c~", "@eaDir", "lost+found"])
    def test_knows_the_names_that_copying_leaves(self, name: str) -> None:
        assert formats.is_ignored(name)
        assert not formats.is_ignored("frame_000001.png")


class TestListing:
    def test_lists_the_episodes_of_a_real_recording(self, tmp_path: Path) -> None:
        listing = LEROBOT.listing(real("pending/g1_v21", tmp_path / "g1"))
        assert listing.episodes == (FIRST, SECOND, "episode_000002")
        assert listing.orphans == ()
        assert listing.refusal is None

    def test_reports_the_frames_of_an_interrupted_session_as_orphans(self, tmp_path: Path) -> None:
        listing = LEROBOT.listing(real("pending/franka_v21_interrupted", tmp_path / "franka"))
        assert listing.episodes == (FIRST,)
        [(episode, why)] = listing.orphans
        assert episode == SECOND
        assert "53 frames of observation.images.tpv, 53 frames of observation.images.wrist" in why

    def test_refuses_a_clone_without_git_lfs(self, tmp_path: Path) -> None:
        refusal = LEROBOT.listing(real("corrupt/dataset_lfs_pointers", tmp_path / "clone")).refusal
        assert refusal is not None
        assert refusal.code == "lfs_pointer"
        assert "git lfs pull" in refusal.hint

    def test_sees_what_came_in_since(self, root: Path) -> None:
        assert LEROBOT.listing(root) is LEROBOT.listing(root)
        recording(root, episodes=1)
        assert len(LEROBOT.listing(root).episodes) == 3

    def test_counts_the_frames_of_an_orphan_while_they_come_in(self, root: Path) -> None:
        folder = frame(root, 0, episode=2).parent
        folder.mkdir()
        assert LEROBOT.listing(root).orphans == ()
        for number in range(3):
            shutil.copy(frame(root, 0), folder / f"frame_{number:06d}.png")
            [(_, why)] = LEROBOT.listing(root).orphans
            assert why.startswith(f"{number + 1} frames of {TOP}")

    def test_an_orphan_becomes_an_episode_with_its_line(self, root: Path) -> None:
        lines = root / "meta/episodes.jsonl"
        whole = lines.read_bytes()
        lines.write_bytes(whole.splitlines(keepends=True)[0])
        assert [episode for episode, _ in LEROBOT.listing(root).orphans] == [SECOND]
        lines.write_bytes(whole)
        assert LEROBOT.listing(root).orphans == ()

    def test_keeps_the_gaps_of_the_recorder(self, tmp_path: Path) -> None:
        root = tmp_path / "gaps"
        for index in (0, 2, 4):
            recording(root, episodes=1, start=index)
        assert LEROBOT.listing(root).episodes == (FIRST, "episode_000002", "episode_000004")

    def test_a_last_line_that_is_being_written_does_not_count_yet(self, root: Path) -> None:
        with (root / "meta/episodes.jsonl").open("ab") as file:
            file.write(b'{"episode_index": 2, "tasks": ["Fet')
        assert LEROBOT.listing(root).episodes == (FIRST, SECOND)

    def test_a_session_killed_before_its_first_save_has_orphans_only(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").unlink()
        listing = LEROBOT.listing(root)
        assert listing.episodes == ()
        assert [episode for episode, _ in listing.orphans] == [FIRST, SECOND]

    def test_a_line_separator_in_a_task_is_no_line_end(self, root: Path) -> None:
        with (root / "meta/episodes.jsonl").open("a") as file:
            file.write(json.dumps({"episode_index": 2, "tasks": ["a\u2028b\x85c"], "length": 1}, ensure_ascii=False))
        assert len(LEROBOT.listing(root).episodes) == 3

    @pytest.mark.parametrize(
        ("bad", "told"),
        [
            (b'{"episode_index": 2, "length": 3\n{}\n', "line 3"),
            (b"[1]\n", "line 3: not a JSON object"),
            (b'{"episode_index": 2}\n', "line 3: key `length` is None"),
            (b'{"episode_index": -1, "length": 3}\n', "line 3: key `episode_index` is -1"),
            (b'{"episode_index": 0, "length": 3}\n', "line 3: episode 0 again, with 3 frames, not 5"),
            (b"\xff\n", "not UTF-8"),
        ],
    )
    def test_names_the_wrong_line_of_episodes_jsonl(self, root: Path, bad: bytes, told: str) -> None:
        with (root / "meta/episodes.jsonl").open("ab") as file:
            file.write(bad)
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert refusal.code == "meta_invalid"
        assert "episodes.jsonl" in refusal.message
        assert told in refusal.message

    def test_what_the_system_refuses_is_a_refusal_too(self, root: Path) -> None:
        (root / "meta/episodes.jsonl").unlink()
        (root / "meta/episodes.jsonl").mkdir()
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert "Is a directory" in refusal.message


class TestInfo:
    @pytest.mark.parametrize(
        ("change", "code", "told"),
        [
            (lambda info: info.update(codebase_version="v1.6"), "version_unsupported", "v1.6"),
            (lambda info: info.pop("codebase_version"), "meta_invalid", "`codebase_version`"),
            (lambda info: info.update(fps="fast"), "meta_invalid", "`fps`"),
            (lambda info: info.update(fps=0), "meta_invalid", "`fps`"),
            (lambda info: info.update(fps=True), "meta_invalid", "`fps`"),
            (lambda info: info.update(chunks_size=0), "meta_invalid", "`chunks_size`"),
            (lambda info: info.update(features=[]), "meta_invalid", "`features`"),
            (lambda info: info["features"].update(x=3), "meta_invalid", "`features.x`"),
            (lambda info: info["features"].update({"../x": {"dtype": "video"}}), "meta_invalid", "features.../x"),
            (lambda info: info.update(data_path=7), "meta_invalid", "`data_path`"),
            (lambda info: info.update(data_path="/etc/{episode_index}"), "meta_invalid", "leads out"),
            (lambda info: info.update(video_path="../{episode_index}"), "meta_invalid", "leads out"),
            (lambda info: info.update(video_path="a/{episode}"), "meta_invalid", "{episode}"),
            (lambda info: info.update(video_path="a/{episode_index.real}"), "meta_invalid", "episode_index.real"),
            (lambda info: info.update(video_path="a/{video_key}{episode_index:99999d}"), "meta_invalid", "99999d"),
            (lambda info: info.update(video_path="a/{video_key:03d}"), "meta_invalid", "video_key"),
            (lambda info: info.update(video_path="{video_key}.mp4"), "meta_invalid", "the same for every episode"),
            (lambda info: info.update(video_path="{episode_index}.mp4"), "meta_invalid", "the same for every camera"),
            (lambda info: info.update(data_path="rows.parquet"), "meta_invalid", "the same for every episode"),
            (lambda info: info.update(video_path="a/{episode_index"), "meta_invalid", "`video_path`"),
        ],
    )
    def test_names_the_wrong_key(
        self, root: Path, change: Callable[[dict[str, Any]], object], code: str, told: str
    ) -> None:
        change_info(root, change)
        refusal = LEROBOT.listing(root).refusal
        assert refusal is not None
        assert refusal.code == code
        assert told in refusal.message
        assert refused(root).code == code

    @pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "episodes_stats.jsonl", "tasks.jsonl"])
    def test_a_pointer_in_its_place(self, root: Path, name: str) -> None:
        (root / "meta" / name).write_bytes(POINTER)
        error = refused(root)
        assert (error.code, "git lfs pull" in error.hint) == ("lfs_pointer", True)
        assert name in error.message

    def test_names_the_line_of_broken_json(self, root: Path) -> None:
        (root / "meta/info.json").write_text('{\n"fps": 30\n"chunks_size": 1000}')
        assert refused(root).message.endswith("info.json: line 3: Expecting ',' delimiter")

    @pytest.mark.parametrize("part", [0, 1, 200, 1000])
    def test_half_of_it_is_tried_again(self, root: Path, part: int) -> None:
        """LeRobot rewrites info.json in place: a reader meets any part of it."""
        path = root / "meta/info.json"
        path.write_bytes(path.read_bytes()[:part])
        with pytest.raises(RetryableError, match="ends in the middle"):
            load(root)

    @pytest.mark.parametrize(
        ("written", "fps"),
        [
            (30, Fraction(30)),
            (30.0, Fraction(30)),
            (29.97, Fraction(2997, 100)),
            ("33360/1411", Fraction(33360, 1411)),
            (33360 / 1411, Fraction(33360, 1411)),
            (30000 / 1001, Fraction(30000, 1001)),
        ],
    )
    def test_reads_the_rate_exactly(self, written: float | str, fps: Fraction) -> None:
        assert parse_fps(written, Path("info.json")) == fps

    @pytest.mark.parametrize(
        ("shape", "names", "size"),
        [
            ([48, 64, 3], ["height", "width", "channels"], (48, 64)),
            ([3, 224, 200], ["channels", "height", "width"], (224, 200)),
            ([3, 224, 200], ["height", "width", "channel"], (224, 200)),
            ([48, 64], None, (48, 64)),
            ([3, 4, 3], ["channels", "height", "width"], (4, 3)),
            ([3, 4, 3], ["height", "width", "channels"], (3, 4)),
            ([48, 64, 7], None, None),
            ("wide", None, None),
        ],
    )
    def test_reads_the_size_whichever_way_round(
        self, root: Path, shape: object, names: object, size: tuple[int, int] | None
    ) -> None:
        change_info(root, lambda info: info["features"][TOP].update(shape=shape, names=names))
        assert load(root).cameras[0].shape == size

    def test_understands_placeholders_of_v3(self, root: Path) -> None:
        change_info(
            root,
            lambda info: info.update(
                data_path="data/chunk-{chunk_index:03d}/episode_{episode_index:06d}.parquet",
                video_path="videos/chunk-{chunk_index:03d}/{video_key}/episode_{file_index:06d}.mp4",
            ),
        )
        assert load(root).cameras[0].video == PurePosixPath(f"videos/chunk-000/{TOP}/{FIRST}.mp4")

    def test_puts_episodes_into_chunks(self, root: Path) -> None:
        change_info(root, lambda info: info.update(chunks_size=2))
        assert read_info(root / "meta/info.json").video(TOP, 5).parts[1] == "chunk-002"


class TestUpload:
    def test_an_episode_that_is_there_lacks_nothing(self, root: Path) -> None:
        files = [table(root), *(frame(root, number, key) for number in range(5) for key in (TOP, WRIST))]
        upload = LEROBOT.upload(root, FIRST)
        assert upload.missing == ()
        assert upload.files == len(files)
        assert upload.bytes == sum(path.stat().st_size for path in files)
        assert upload.newest == max(path.stat().st_ctime_ns for path in files)

    def test_a_copy_that_sets_the_time_back_is_noticed(self, root: Path) -> None:
        before = LEROBOT.upload(root, FIRST)
        os.utime(frame(root, 2), (1, 1))
        assert LEROBOT.upload(root, FIRST).newest > before.newest

    @pytest.mark.parametrize(
        ("spoil", "missing"),
        [
            (lambda root: frame(root, 2).unlink(), f"frame_000002.png of {TOP}"),
            (lambda root: frame(root, 4).unlink(), f"frame_000004.png of {TOP}"),
            (lambda root: shutil.rmtree(frame(root, 0, WRIST).parent), f"frames of {WRIST}"),
            (lambda root: frame(root, 3).with_name(".frame_000005.png.Xy12Zk").touch(), "a copy that is going on"),
            (lambda root: frame(root, 3).with_name("frame_000005.png.part").touch(), "a copy that is going on"),
            (lambda root: os.truncate(frame(root, 3, WRIST), 100), "the end of frame_000003.png"),
            (lambda root: os.truncate(frame(root, 3, WRIST), 0), "the end of frame_000003.png"),
            (lambda root: table(root).unlink(), "data/chunk-000/episode_000000.parquet"),
            (lambda root: os.truncate(table(root), 1000), "the end of data/chunk-000/episode_000000.parquet"),
            (lambda root: table(root).write_bytes(POINTER), "git lfs pull"),
        ],
    )
    def test_says_what_is_missing(self, root: Path, spoil: Callable[[Path], object], missing: str) -> None:
        spoil(root)
        assert any(missing in line for line in LEROBOT.upload(root, FIRST).missing)
        assert LEROBOT.upload(root, SECOND).missing == ()

    def test_does_not_wait_for_statistics_that_some_recorders_never_write(self, root: Path) -> None:
        (root / "meta/episodes_stats.jsonl").unlink()
        finish(root, remove_inputs="keep")
        recording(root, episodes=1)
        (root / "meta/episodes_stats.jsonl").write_text('{"episode_index": 0, "stats": {}}\n')
        assert LEROBOT.upload(root, "episode_000002").missing == ()

    def test_stale_frames_are_not_waited_for(self, root: Path) -> None:
        frame(root, 9).write_bytes(b"half of a fra")
        assert LEROBOT.upload(root, FIRST).missing == ()

    def test_frames_that_the_table_only_names_are_waited_for(self, tmp_path: Path) -> None:
        """rsync sends data/ before images/: a table that looks whole says nothing about its pictures."""
        root = recording(tmp_path / "dorobot", version="dorobot-images")
        shutil.rmtree(root / "images")
        assert LEROBOT.upload(root, FIRST).missing == (f"frames of {TOP}", f"frames of {WRIST}")

    def test_pictures_inside_the_table_are_there(self, tmp_path: Path) -> None:
        root = embedded(tmp_path / "embedded")
        shutil.rmtree(root / "images")
        assert LEROBOT.upload(root, FIRST).missing == ()

    def test_a_video_that_still_arrives(self, root: Path) -> None:
        finish(root)
        assert LEROBOT.upload(root, FIRST).missing == ()
        os.truncate(video(root), video(root).stat().st_size - 1)
        assert LEROBOT.upload(root, FIRST).missing == (f"the end of episode_000000.mp4 of {TOP}",)

    def test_an_unknown_episode_is_missing_altogether(self, root: Path) -> None:
        assert "no line for episode_000007" in LEROBOT.upload(root, "episode_000007").missing[0]


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


class TestMending:
    def test_has_nothing_to_do_before_an_episode_is_finished(self, root: Path) -> None:
        assert mending_edits(LEROBOT.name, root, root) == []

    def test_brings_back_what_a_recorder_wrote_over(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset", version="dorobot")
        received = {name: (root / "meta" / name).read_bytes() for name in ("info.json", "episodes_stats.jsonl")}
        finish(root)
        finished = {name: (root / "meta" / name).read_bytes() for name in received}
        assert finished["info.json"] != received["info.json"]
        (root / "meta/info.json").write_bytes(received["info.json"])
        (root / "meta/episodes_stats.jsonl").unlink()
        for _ in range(2):
            mend(root)
            assert {name: (root / "meta" / name).read_bytes() for name in received} == finished

    def test_is_idempotent(self, root: Path) -> None:
        finish(root)
        for edit in mending_edits(LEROBOT.name, root, root):
            now = (root / edit.target).read_bytes()
            assert edit.derive(now) in (None, now)


def mend(root: Path) -> None:
    for edit in mending_edits(LEROBOT.name, root, root):
        path = root / edit.target
        new = edit.derive(path.read_bytes() if path.exists() else None)
        if new is not None:
            path.write_bytes(new)


class TestEndsOfVideos:
    FTYP, MOOV = b"\0\0\0\x0cftypisom", b"\0\0\0\x08moov"

    @pytest.mark.parametrize(
        ("content", "whole"),
        [
            (FTYP + MOOV, True),
            (FTYP + MOOV + b"\0\0\0\0mdat to the end", True),
            (FTYP + b"\0\0\0\x01mdat" + bytes(7) + b"\x12ab" + MOOV, True),
            (FTYP + b"\0\0\0\x01mdat" + bytes(7) + b"\xffab" + MOOV, False),
            (FTYP + MOOV[:-1], False),
            (FTYP + b"\0\0\0\x0amdatab", False),
            (FTYP, False),
            (b"", False),
            (bytes(100), False),
        ],
    )
    def test_an_index_and_boxes_that_fill_the_file(self, tmp_path: Path, content: bytes, whole: bool) -> None:
        path = tmp_path / "video.mp4"
        path.write_bytes(content)
        assert mp4_ends(path) is whole

    def test_of_real_ones(self) -> None:
        folder = DATA / "reference/g1_v21/videos/chunk-000/observation.images.cam_high"
        if not folder.is_dir():
            pytest.skip(f"needs the real recordings ({folder})")
        assert all(mp4_ends(path) for path in folder.iterdir())
