"""`episoded verify`: one report on what LeRobot will read, and on whether files are still what was published."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from commandline import episoded, on_terminal, plain
from episoded.daemon.control import ControlDir
from finished_dataset import chosen, finished, root  # noqa: F401 - fixtures
from lerobot_broken import VARIANTS
from lerobot_data import TOP, recording, video
from lerobot_v30 import as_v30
from recordings import EPISODE, copy, snapshot

if TYPE_CHECKING:
    from pathlib import Path


class TestPublished:
    @pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
    def test_damage_is_found_by_reading(self, root: Path, chosen: Path, damage: str) -> None:
        content = bytearray(video(root).read_bytes())
        if damage == "missing":
            video(root).unlink()
        elif damage == "shorter":
            video(root).write_bytes(content[:-1])
        else:
            content[-20] ^= 1
            video(root).write_bytes(content)
        done = episoded("verify", root, config=chosen)
        assert done.code == 1
        assert f"ds/{EPISODE} is not as published" in done.out
        assert f"encode: videos/chunk-000/{TOP}/{EPISODE}.mp4" in done.out
        assert "its frames are gone" in done.out
        record = episoded("verify", root, "--json", config=chosen).json["episodes"][0]
        assert len(record["damage"]) == 1

    def test_what_can_be_made_again_is_made_again_as_it_says(self, root: Path, chosen: Path) -> None:
        (ControlDir.of(root, EPISODE).path / "quality.json").unlink()
        done = episoded("verify", root, config=chosen)
        assert done.code == 1
        _, _, command = done.out.partition("what to do: episoded ")
        assert episoded(*command.splitlines()[0].split(), config=chosen).code == 0
        assert episoded("process", root / EPISODE, config=chosen).code == 0
        assert episoded("verify", root, config=chosen).code == 0


class TestReport:
    def test_a_whole_dataset_is_ready_for_training(self, finished: Path, chosen: Path) -> None:
        done = episoded("verify", finished, config=chosen)
        assert (done.code, done.err) == (0, "")
        about, verdict, checked = done.out.splitlines()
        assert about == "ds  LeRobot v2.1, 3 episodes, 18 frames, 2 cameras"
        assert verdict == "ready for training"
        assert checked.startswith("12 pictures decoded, 12 files (")

    def test_what_is_wrong_is_said_once_with_its_places(self, root: Path, chosen: Path) -> None:
        VARIANTS["no description"].spoil(root)
        VARIANTS["25 fps"].spoil(root)
        VARIANTS["splits of another"].spoil(root)
        done = episoded("verify", root, config=chosen)
        assert done.code == 1
        lines = done.out.splitlines()
        place = f"    videos/chunk-000/{TOP}/{EPISODE}.mp4: has 25 pictures a second, the dataset 30"
        assert lines[1:3] == [" error  video_rate", place]
        assert " warning  splits_wrong" in lines
        assert " note  video_info" in lines
        assert sum(line.startswith("    what to do: ") for line in lines) == 4  # and the video is not as published
        assert "not ready for training: 2 errors, 1 warning" in lines

    def test_warnings_are_no_reason_not_to_train(self, root: Path, chosen: Path) -> None:
        VARIANTS["splits of another"].spoil(root)
        done = episoded("verify", root, config=chosen)
        assert done.code == 0
        assert "ready for training, 1 warning" in done.out

    def test_many_places_of_one_kind(self, tmp_path: Path, chosen: Path) -> None:
        done = episoded("verify", recording(tmp_path / "ds", episodes=4), config=chosen)
        assert done.code == 1
        assert "    … and 5 more" in done.out.splitlines()
        assert "    what to do: episoded process PATH" in done.out.splitlines()

    def test_json(self, root: Path, chosen: Path) -> None:
        VARIANTS["25 fps"].spoil(root)
        said = episoded("verify", root, "--json", config=chosen)
        assert said.code == 1
        assert list(said.json) == ["schema", "datasets", "episodes"]
        (dataset,) = said.json["datasets"]
        assert (dataset["version"], dataset["ok"], dataset["episodes"], dataset["frames"]) == ("v2.1", False, 3, 18)
        assert dataset["counts"] == {"error": 1, "warning": 0, "note": 0}
        (finding,) = dataset["findings"]
        assert (finding["code"], finding["episode"], finding["camera"]) == ("video_rate", 0, TOP)
        assert finding["repairable"] is False
        assert finding["in_lerobot"]
        assert finding["what_to_do"]

    def test_it_changes_nothing(self, finished: Path, chosen: Path) -> None:
        before = snapshot(finished)
        episoded("verify", finished, "--deep", config=chosen)
        assert snapshot(finished) == before

    def test_a_bar_only_on_a_terminal(self, finished: Path, chosen: Path) -> None:
        code, said = on_terminal("verify", finished, config=chosen)
        assert code == 0
        assert "ready for training" in plain(said)


class TestPlaces:
    def test_a_v30_dataset_of_somebody_else(self, finished: Path, tmp_path: Path, chosen: Path) -> None:
        root = as_v30(finished, tmp_path / "v30")
        done = episoded("verify", root, "--deep", config=chosen)
        assert done.code == 0
        assert done.out.splitlines()[0] == "v30  LeRobot v3.0, 3 episodes, 18 frames, 2 cameras"
        assert "36 pictures decoded, nothing was published here by episoded" in done.out

    def test_one_episode(self, root: Path, chosen: Path) -> None:
        VARIANTS["25 fps"].spoil(root)
        assert episoded("verify", root / "episode_000001", config=chosen).code == 0
        assert episoded("verify", root / EPISODE, config=chosen).code == 1

    def test_a_folder_of_datasets(self, finished: Path, tmp_path: Path, chosen: Path) -> None:
        copy(finished, tmp_path / "drop/good")
        broken = copy(finished, tmp_path / "drop/bad")
        VARIANTS["no tasks"].spoil(broken)
        said = episoded("verify", tmp_path / "drop", "--json", config=chosen)
        assert {one["dataset"].rpartition("/")[2]: one["ok"] for one in said.json["datasets"]} == {
            "good": True,
            "bad": False,
        }

    def test_a_dataset_that_lost_its_info(self, root: Path, chosen: Path) -> None:
        (root / "meta/info.json").unlink()
        done = episoded("verify", root, config=chosen)
        assert done.code == 1
        assert " error  meta_missing" in done.out.splitlines()

    def test_what_is_no_dataset(self, tmp_path: Path, chosen: Path) -> None:
        (tmp_path / "empty").mkdir()
        shutil.copy(__file__, tmp_path / "empty")
        assert episoded("verify", tmp_path / "empty", config=chosen).code == 4
