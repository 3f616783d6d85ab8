"""`episoded view`: a Rerun recording that Rerun itself accepts, and a still picture."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded
from droid_data import EXT1, EXT2, WRIST, episode_folder, finish_one, tree, write_video
from lerobot_data import recording

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("rerun")


def entities(path: Path) -> dict[str, int]:
    """What Rerun's own tool finds in a recording: entity -> rows of chunks; after it has verified the file."""
    for task in ("verify", "stats"):
        done = subprocess.run(
            [sys.executable, "-m", "rerun", "rrd", task, path], capture_output=True, text=True, check=True
        )
    found = done.stdout.partition("Num chunks per entity")[2].partition("Num chunks per index")[0]
    return {name: int(count) for name, count in re.findall(r"^/(\S+): (\d+)$", found, flags=re.MULTILINE)}


def size_of(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


class TestDroid:
    def test_scene_cameras_videos_and_curves(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        write_video(episode_folder(root) / f"recordings/MP4/{EXT1}.mp4", 19, (320, 180))
        name = finish_one(root, tmp_path / "out", points_per_finger=6).name
        done = episoded("view", root, "--output", tmp_path / "out", "--into", tmp_path / "seen")
        assert done.code == 0, done.err
        found = entities(tmp_path / "seen" / f"{name}.rrd")
        for entity in (
            "base",
            "base/axes",
            "base/path",
            "base/gripper",
            "base/pads/left",
            "base/pads/right",
            f"base/{WRIST}",
            f"base/{EXT2}/image",
            f"base/{EXT2}/image/pads",
            f"base/{EXT1}/image/video",
            "gripper_position",
            "travelled_mm",
            "cartesian_position",
        ):
            assert entity in found
        assert f"base/{EXT2}/image/video" not in found
        width, height = size_of(tmp_path / "seen" / f"{name}.png")
        assert width > 1000
        assert height > 500

    def test_a_damaged_video_is_left_out(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        path = episode_folder(root) / f"recordings/MP4/{EXT1}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no video")
        name = finish_one(root, tmp_path / "out", points_per_finger=6).name
        done = episoded("view", root, "--output", tmp_path / "out", "--into", tmp_path)
        assert done.code == 0, done.err
        found = entities(tmp_path / f"{name}.rrd")
        assert f"base/{EXT1}/image/pads" in found
        assert f"base/{EXT1}/image/video" not in found

    def test_nothing_to_look_at_yet(self, tmp_path: Path) -> None:
        root = tree(tmp_path / "droid")
        done = episoded("view", root, "--output", tmp_path / "out", "--into", tmp_path / "seen")
        assert done.code == 1
        assert "process the episode first" in done.err


class TestLeRobot:
    def test_frames_before_and_videos_after_processing(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "drop" / "ds")
        config = configure(tmp_path, tmp_path / "drop")
        for _ in range(2):
            done = episoded("view", root / "episode_000001", "--into", tmp_path, config=config)
            assert done.code == 0, done.err
            found = entities(tmp_path / "episode_000001.rrd")
            assert {"cameras/top", "cameras/wrist", "observation/state", "action"} <= set(found)
            assert size_of(tmp_path / "episode_000001.png")[0] > 1000
            assert episoded("process", root, config=config).code == 0

    def test_only_the_picture(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "ds", episodes=1)
        done = episoded("view", root, "--still", "--into", tmp_path)
        assert done.code == 0, done.err
        assert not list(tmp_path.glob("*.rrd"))
        assert size_of(tmp_path / "episode_000000.png")[0] > 1000
