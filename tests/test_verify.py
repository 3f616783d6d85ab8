"""What `episoded verify` finds: each way in which datasets are broken by its own code, and nothing in whole ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats, simulation_v3
from episoded.processors.lerobot.catalogue import CATALOGUE
from episoded.processors.lerobot.inspect import inspect_dataset
from episoded.processors.lerobot.repair import plan_repair
from lerobot_broken import V21, VARIANTS, change_lines, change_table, pngs
from lerobot_data import change_info, embedded, finish, real, recording, table, video
from lerobot_v30 import as_v30

if TYPE_CHECKING:
    from episoded.processors.simulation_v3 import End


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The dataset that the variants spoil, by version."""
    folder = tmp_path_factory.mktemp("whole")
    v21 = finish(recording(folder / "v21", episodes=3, frames=6))
    return {"v2.1": v21, "v3.0": as_v30(v21, folder / "v30")}


def codes(root: Path, **how: Any) -> dict[str, str]:
    found = inspect_dataset(root, threads=1, **how).findings
    return {finding.code: f"{finding.severity}: {finding.message}" for finding in found}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_broken_has_its_own_code(name: str, whole: dict[str, Path], tmp_path: Path) -> None:
    broken = VARIANTS[name]
    root = tmp_path / "dataset"
    shutil.copytree(whole[broken.version], root)
    broken.spoil(root)
    found = codes(root, deep=broken.deep)
    assert set(found) == broken.codes, found


def test_every_kind_is_known_by_a_variant() -> None:
    """What has no variant is held elsewhere: without a usable info.json, of a repair, of checkpoints."""
    elsewhere = {"meta_missing", "version_unsupported", "info_key", "task_double", "episode_empty", "symlink_outside"}
    elsewhere |= {"repair_unfinished", "keyframes_rare"}
    assert {code for broken in VARIANTS.values() for code in broken.codes} | elsewhere == set(CATALOGUE)


class TestWhatIsWhole:
    """Nothing is found where nothing is wrong."""

    @pytest.mark.parametrize("deep", [False, True])
    @pytest.mark.parametrize("version", ["v2.1", "v3.0"])
    def test_finished_by_us(self, version: str, deep: bool, whole: dict[str, Path]) -> None:
        report = inspect_dataset(whole[version], deep=deep)
        assert report.findings == ()
        assert report.ok
        assert (report.version, report.episodes, report.frames, report.cameras) == (version, 3, 18, 2)
        assert report.pictures == (36 if deep else 12)

    @pytest.mark.parametrize(
        "settings",
        [
            {"version": "v2.0"},
            {"version": "dorobot"},
            {"version": "dorobot-images"},
            {"fps": 29.97},
            {"fps": 33360 / 1411, "frames": 40},
            {"frames": 1},
        ],
        ids=str,
    )
    def test_other_recordings(self, settings: dict[str, Any], tmp_path: Path) -> None:
        assert codes(finish(recording(tmp_path / "dataset", **settings)), deep=True) == {}

    def test_pictures_inside_of_the_tables(self, tmp_path: Path) -> None:
        assert set(codes(finish(embedded(tmp_path / "dataset")))) == {"frames_left"}

    def test_one_file_an_episode(self, whole: dict[str, Path], tmp_path: Path) -> None:
        assert codes(as_v30(whole[V21], tmp_path / "each", joined=False), deep=True) == {}

    def test_a_real_recording(self, tmp_path: Path) -> None:
        root = finish(real("pending/g1_v21", tmp_path / "dataset"))
        assert codes(root) == codes(root, deep=True) == {}

    def test_videos_that_lerobot_encoded(self, tmp_path: Path) -> None:
        """The AV1 videos of a real recording, with as many rows as they have pictures."""
        root, reference = real("pending/g1_v21", tmp_path / "dataset"), real("reference/g1_v21", tmp_path / "reference")
        shutil.rmtree(root / "images")
        (reference / "videos").rename(root / "videos")
        lengths = [221, 260, 265]
        change_lines(
            root / "meta/episodes.jsonl",
            lambda lines: [line.update(length=length) for line, length in zip(lines, lengths, strict=True)],
        )
        for index, length in enumerate(lengths):
            rows = pq.read_table(table(root, index))
            pq.write_table(rows.take([row % len(rows) for row in range(length)]), table(root, index))
            start = sum(lengths[:index])
            change_table(
                table(root, index),
                timestamp=lambda column: np.arange(len(column)) / 30,
                frame_index=lambda column: np.arange(len(column)),
                index=lambda column, start=start: np.arange(start, start + len(column)),
            )
        change_info(root, lambda info: info.update(total_frames=746))
        # The rows repeat: their mean is not that of the recording. info.json was never completed.
        assert set(codes(root, deep=True)) <= {"stats_wrong", "video_info", "total_wrong"}
        assert inspect_dataset(root, deep=True).ok

    @pytest.mark.parametrize("end", ["finalized", "crashed", "killed"])
    def test_what_lerobot_044_left_and_we_finished(self, end: End, tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        simulation_v3.record(root, episodes=2, frames=6, size=(48, 64), end=end, depth=True)
        assert set(codes(root)) - {"episodes_missing", "stats_feature"} == {"frames_unencoded"}
        layout = formats.by_name("lerobot-v3")
        for episode in layout.listing(root).episodes:
            assert work_on(Work(root, root, episode, layout.name, Pipeline(name="test"))) == "ready"
        assert codes(root, deep=True) == {}


def advice(root: Path) -> dict[str, tuple[str, bool]]:
    return {
        one["code"]: (one["what_to_do"], one["repairable"])
        for one in inspect_dataset(root, threads=1).as_json()["findings"]
    }


class TestWhatWaitsToBeEncoded:
    """What goes away with the encoding is not sent to the repair, which would refuse it."""

    def test_a_killed_recording(self, tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        simulation_v3.record(root, episodes=2, frames=6, size=(48, 64), end="killed")
        assert advice(root)["episodes_missing"] == ("episoded process PATH", False)
        plan = plan_repair(root)
        reasons = {refusal.finding.code: refusal.reason for refusal in plan.refusals}
        assert reasons["episodes_missing"] == reasons["frames_unencoded"] == "episoded process PATH"

    def test_statistics_that_overflowed(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        VARIANTS["overflow"].spoil(root)
        assert advice(root)["stats_overflow"] == ("episoded repair", True)
        video(root, episode=1).unlink()
        pngs(root, 1, range(6))
        assert advice(root)["stats_overflow"] == ("episoded process PATH", False)
        reasons = {refusal.finding.code: refusal.reason for refusal in plan_repair(root).refusals}
        assert reasons["stats_overflow"] == "episoded process PATH"


class TestWhatIsUnreadable:
    def test_no_info(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        (root / "meta/info.json").unlink()
        assert set(codes(root)) == {"meta_missing"}

    def test_a_version_that_nobody_knows(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        change_info(root, lambda info: info.update(codebase_version="v1.6"))
        assert set(codes(root)) == {"version_unsupported"}

    def test_keys_of_info_that_are_missing_are_each_named(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        change_info(root, lambda info: [info.pop(key) for key in ("chunks_size", "data_path")])
        messages = [finding.message for finding in inspect_dataset(root).findings if finding.code == "info_key"]
        assert messages == ["key `chunks_size` is None, expected a number of files", "key `data_path` is missing"]

    def test_a_clone_without_git_lfs(self, tmp_path: Path) -> None:
        report = inspect_dataset(real("corrupt/dataset_lfs_pointers", tmp_path / "dataset"))
        assert {finding.code for finding in report.findings} == {"lfs_pointer"}
        assert len(report.findings) == 9

    def test_a_session_that_was_killed(self, tmp_path: Path) -> None:
        found = codes(real("pending/franka_v21_interrupted", tmp_path / "dataset"))
        assert set(found) == {"lfs_pointer", "table_missing", "frames_orphaned"}


def test_key_frames_far_apart(tmp_path: Path) -> None:
    root = finish(recording(tmp_path / "dataset", episodes=1, frames=70), encode={"gop": 250})
    assert codes(root)["keyframes_rare"] == "note: up to 70 pictures from one key frame to the next"


def test_one_episode_alone(whole: dict[str, Path], tmp_path: Path) -> None:
    """What is wrong with the files of others does not count; what is wrong with the dataset does."""
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    VARIANTS["25 fps"].spoil(root)
    VARIANTS["no videos counted"].spoil(root)
    assert set(codes(root, only={1})) == {"total_wrong"}
    assert set(codes(root, only={0})) == {"total_wrong", "video_rate"}


def test_every_kind_is_documented() -> None:
    words = (Path(__file__).parents[1] / "docs/verify.md").read_text()
    for code, kind in CATALOGUE.items():
        assert f"| `{code}` | {kind.severity} |" in words, code
        assert kind.remedy in words, code
        assert kind.v2 in words, code
        assert kind.v3 in words, code


def test_who_is_sent_to_the_repair_is_mended_there() -> None:
    sent = {code for code, kind in CATALOGUE.items() if "episoded repair" in kind.remedy}
    assert sent == {code for code, kind in CATALOGUE.items() if kind.repairable}
