"""Whether all of an episode of a LeRobot v2.x dataset has arrived."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from episoded.processors.formats.whole import mp4_ends
from lerobot_data import (
    DATA,
    FIRST,
    LEROBOT,
    POINTER,
    SECOND,
    TOP,
    WRIST,
    embedded,
    finish,
    frame,
    recording,
    root,  # noqa: F401 - a fixture
    table,
    video,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
