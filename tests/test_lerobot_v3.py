"""LeRobot v3.0 recordings whose encoding never ran, crashed, or was killed: what is listed, read and refused."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episoded.daemon.complete import UploadTracker
from episoded.daemon.config import DropConfig
from episoded.processors.errors import BusyError
from episoded.processors.simulation_v3 import Session
from lerobot_data import POINTER, TOP, WRIST, change_info
from lerobot_v3_sessions import DATA, ENDS, LISTED, V3, frame, recording, refused
from recordings import format_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor
    from episoded.processors.simulation_v3 import End

    Start = Callable[..., Actor]


class TestListing:
    @pytest.mark.parametrize("end", ENDS)
    def test_episodes_are_those_with_rows(self, tmp_path: Path, end: End) -> None:
        root = recording(tmp_path, end, episodes=11)
        assert format_of(root) is V3
        assert V3.listing(root).episodes == tuple(f"episode_{index:06d}" for index in range(11))
        assert V3.listing(root).orphans == ()

    def test_frames_without_rows_are_orphans(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        (tmp_path / "images" / TOP / "episode-000002").mkdir()
        shutil.copy(frame(root, 0), frame(root, 0, episode=2))
        [(name, why)] = V3.listing(root).orphans
        assert name == "episode_000002"
        assert why.startswith(f"1 frames of {TOP}, but no rows in data/")

    def test_rows_that_come_in_are_noticed(self, tmp_path: Path) -> None:
        session = Session(tmp_path, 30, ("top",), (48, 64))
        session.episode(3)
        assert len(V3.listing(tmp_path).episodes) == 1
        session.episode(3)
        assert len(V3.listing(tmp_path).episodes) == 2

    def test_it_is_read_again_only_when_a_file_has_changed(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        assert V3.listing(root) is V3.listing(root)

    def test_a_file_that_was_only_begun_holds_no_episodes(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        (root / "data/chunk-000/file-001.parquet").write_bytes(b"PAR1")
        assert len(V3.listing(root).episodes) == 2

    def test_of_a_file_cut_in_the_middle_the_whole_row_groups_count(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed", episodes=3)
        content = (root / DATA).read_bytes()
        (root / DATA).write_bytes(content[:-100])
        listing = V3.listing(root)
        assert len(listing.episodes) == 2
        assert [name for name, _ in listing.orphans] == ["episode_000002"]

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            (lambda root: (root / LISTED).write_bytes(POINTER), "lfs_pointer"),
            (lambda root: (root / DATA).write_bytes(POINTER), "lfs_pointer"),
            (lambda root: change_info(root, lambda info: info.update(fps="fast")), "meta_invalid"),
            (lambda root: change_info(root, lambda info: info.update(features=3)), "meta_invalid"),
            (lambda root: shutil.copy(root / DATA, root / "data/chunk-000/file-001.parquet"), "meta_invalid"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path: Path, spoil: Callable[[Path], object], code: str) -> None:
        root = recording(tmp_path)
        spoil(root)
        refusal = V3.listing(root).refusal
        assert refusal is not None
        assert refusal.code == code

    def test_looking_writes_nothing(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        before = snapshot(root)
        V3.listing(root)
        V3.upload(root, "episode_000000")
        V3.load(root, "episode_000000", root)
        assert snapshot(root) == before


class TestUpload:
    def test_a_finalized_recording_lacks_nothing(self, tmp_path: Path) -> None:
        assert V3.upload(recording(tmp_path), "episode_000001").missing == ()

    def test_a_killed_one_is_waited_for(self, tmp_path: Path) -> None:
        missing = V3.upload(recording(tmp_path, "killed"), "episode_000001").missing
        assert missing == (f"the end of {DATA}", "meta/episodes")

    def test_frames_are_missed_by_name(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        frame(root, 3).unlink()
        assert V3.upload(root, "episode_000000").missing == (f"frame-000003.png of {TOP}",)

    def test_the_process_that_writes_is_named(self, tmp_path: Path, actor: Start) -> None:
        root = recording(tmp_path, "killed")
        recorder = actor("write", root / DATA)
        assert recorder.heard() == "open"
        missing = V3.upload(root, "episode_000000").missing
        assert missing[0] == f"the end of {DATA}, which process {recorder.pid} is writing"
        with pytest.raises(BusyError, match=f"process {recorder.pid}"):
            V3.load(root, "episode_000000", root)
        recorder.kill()
        assert V3.load(root, "episode_000000", root).length == 5

    def test_a_recorder_that_lives_is_waited_for_however_long_it_rests(self, tmp_path: Path, actor: Start) -> None:
        root, now = recording(tmp_path, "killed"), [0.0]
        rule = DropConfig.model_validate({"path": tmp_path, "complete": "quiet", "incomplete_s": 600})
        tracker = UploadTracker(lambda: now[0])

        def judged_after(seconds: float) -> bool:
            now[0] += seconds
            return tracker.judge("it", V3.upload(root, "episode_000000"), rule, marked=False).complete

        recorder = actor("write", root / DATA)
        assert recorder.heard() == "open"
        assert [judged_after(3600) for _ in range(3)] == [False] * 3
        recorder.kill()
        assert [judged_after(seconds) for seconds in (1, 599, 1)] == [False, False, True]


class TestLoading:
    def test_row_k_is_frame_k_of_each_camera(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        episode = V3.load(root, "episode_000001", root)
        assert (episode.index, episode.length, episode.first_row) == (1, 5, 5)
        for camera in episode.cameras:
            assert camera.frames is not None
            assert camera.frames.paths == tuple(frame(root, number, camera.key, 1) for number in range(5))
            assert str(camera.video) == f"videos/{camera.key}/chunk-000/file-001.mp4"

    def test_files_are_numbered_through_the_chunks(self, tmp_path: Path) -> None:
        root = recording(tmp_path, episodes=3)
        change_info(root, lambda info: info.update(chunks_size=2))
        videos = [str(V3.load(root, f"episode_{index:06d}", root).cameras[0].video) for index in range(3)]
        assert [video.partition("/chunk-")[2] for video in videos] == [
            "000/file-000.mp4",
            "000/file-001.mp4",
            "001/file-000.mp4",
        ]

    def test_a_missing_frame_is_named(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        frame(root, 2, WRIST).unlink()
        error = refused(root)
        assert error.code == "frames_missing"
        assert "frame-000002.png" in error.message

    def test_rows_of_another_episode_are_refused(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        table = pq.read_table(root / DATA)
        numbers = pa.array([0] * 4 + [1] * 6)
        pq.write_table(
            table.set_column(table.schema.get_field_index("episode_index"), "episode_index", numbers), root / DATA
        )
        assert refused(root).code == "rows_mismatch"

    def test_rows_out_of_order_are_refused(self, tmp_path: Path) -> None:
        root = recording(tmp_path)
        table = pq.read_table(root / DATA)
        pq.write_table(table.take([1, 0, *range(2, 10)]), root / DATA)
        assert refused(root).code == "frame_index_broken"

    def test_a_task_without_its_text_is_not_made_up(self, tmp_path: Path) -> None:
        root = recording(tmp_path, "killed")
        (root / "meta/tasks.parquet").unlink()
        assert refused(root).code == "task_unknown"
