"""Mending what is broken: what the files tell how to mend becomes clean, the rest is left alone and said."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from broken_datasets import (
    codes,
    lost,
    mend,
    whole,  # noqa: F401 - a fixture
)
from episoded.daemon.control import REPAIRING
from episoded.processors.lerobot.catalogue import CATALOGUE
from episoded.processors.lerobot.inspect import inspect_dataset
from lerobot_broken import V21, V30, VARIANTS, change_lines, change_table, remux, steady
from lerobot_data import TOP, WRIST, change_info, finish, info_of, lines_of, recording, table, video
from lerobot_v30 import data_table, read_episodes, video_file, write_episodes
from recordings import contents

if TYPE_CHECKING:
    from pathlib import Path


#: Repairable in general, but not here: the videos do not agree with the rows.
REFUSED = {"a row too few": {"rows_mismatch"}}
#: A line that cannot be read is not repairable in general, but statistics can be reckoned.
RECKONED = {"a torn line": {"meta_invalid"}}


@pytest.mark.parametrize("name", [name for name, broken in VARIANTS.items() if broken.codes])
def test_what_can_be_mended_is_clean_afterwards_and_the_rest_untouched(
    name: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    broken = VARIANTS[name]
    root = tmp_path / "dataset"
    shutil.copytree(whole[broken.version], root)
    broken.spoil(root)
    before = contents(root)
    plans = mend(root, deep=broken.deep)
    left = {code for code in broken.codes if not CATALOGUE[code].repairable}
    left = (left | REFUSED.get(name, set())) - RECKONED.get(name, set())
    assert {refusal.finding.code for refusal in plans[0].refusals} == left
    assert all(refusal.reason for plan in plans for refusal in plan.refusals)
    if left == broken.codes:
        assert contents(root) == before
    else:
        assert codes(root, deep=broken.deep) == left
        assert lost(root, before) == set(), "something that was replaced is not kept"
    assert not (root / ".episoded" / REPAIRING).exists()


class TestRenumbering:
    def test_everything_of_an_episode_moves_together(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path / "dataset", episodes=4, frames=6), remove_inputs="keep")
        rows = pq.read_table(table(root, 3))["action"]
        clip = video(root, WRIST, 3).read_bytes()
        remove_episode(root, 1)
        mend(root)
        assert codes(root) == {"frames_left"}
        assert [line["episode_index"] for line in lines_of(root / "meta/episodes.jsonl")] == [0, 1, 2]
        assert [line["episode_index"] for line in lines_of(root / "meta/episodes_stats.jsonl")] == [0, 1, 2]
        moved = pq.read_table(table(root, 2))
        assert moved["action"].equals(rows)
        assert moved["episode_index"].to_pylist() == [2] * 6
        assert moved["index"].to_pylist() == [*range(12, 18)]
        assert video(root, WRIST, 2).read_bytes() == clip
        assert not video(root, WRIST, 3).exists()
        assert (root / f"images/{TOP}/episode_000002").is_dir()
        assert not (root / f"images/{TOP}/episode_000003").exists()
        assert info_of(root)["total_episodes"] == 3
        assert info_of(root)["splits"] == {"train": "0:3"}

    @pytest.mark.parametrize("frames", ["keep", "after_ready"])
    def test_the_chain_takes_the_episodes_under_their_new_numbers(self, tmp_path: Path, frames: str) -> None:
        root = finish(recording(tmp_path / "dataset", episodes=4, frames=6), remove_inputs=frames)
        remove_episode(root, 1)
        mend(root)
        finish(root, remove_inputs=frames)  # every episode becomes ready
        assert codes(root) <= {"frames_left"}

    def test_nothing_is_renumbered_while_an_episode_cannot_be_read(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path / "dataset", episodes=4, frames=6))
        remove_episode(root, 1)
        table(root, 2).write_bytes(b"PAR1")
        before = contents(root)
        (plan,) = mend(root)
        assert contents(root) == before
        assert "episode_000002.parquet first" in {one.finding.code: one.reason for one in plan.refusals}["episode_gap"]

    def test_v30(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V30], root)
        change_table(data_table(root), episode_index=lambda column: column + (column == 2))
        rows = read_episodes(root)
        rows[2]["episode_index"] = 3
        write_episodes(root, rows)
        assert codes(root) == {"episode_gap"}
        mend(root)
        assert codes(root) == set()
        assert [row["episode_index"] for row in read_episodes(root)] == [0, 1, 2]


def remove_episode(root: Path, index: int) -> None:
    for path in [*root.rglob(f"episode_{index:06d}*")]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    for name in ("episodes", "episodes_stats"):
        change_lines(root / f"meta/{name}.jsonl", lambda lines: lines.pop(index))
    change_info(root, lambda info: info.update(total_episodes=3, total_frames=18, total_videos=6, splits={}))
    starts = iter(range(0, 99, 6))
    for path in sorted((root / "data").rglob("*.parquet")):
        first = next(starts)
        change_table(path, index=lambda column, first=first: column - column[0] + first)


class TestWhatIsMadeAnew:
    @pytest.mark.parametrize("version", [V21, V30])
    def test_an_info_that_is_gone(self, version: str, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[version], root)
        before = info_of(root)
        (root / "meta/info.json").unlink()
        plans = mend(root)
        assert codes(root) == set()
        after = info_of(root)
        assert "stay empty" in plans[0].changes[0].why
        for key in ("codebase_version", "total_episodes", "total_frames", "total_tasks", "fps", "data_path"):
            assert after[key] == before[key]
        assert after["features"].keys() == before["features"].keys()
        for key, feature in before["features"].items():
            assert after["features"][key]["dtype"] == feature["dtype"]
            assert after["features"][key]["shape"] == feature["shape"]
        assert after["features"][TOP]["info"] == before["features"][TOP]["info"]

    @pytest.mark.parametrize("version", [V21, V30])
    def test_a_rate_that_time_stamps_and_videos_contradict(
        self, version: str, whole: dict[str, Path], tmp_path: Path
    ) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[version], root)
        before = contents(root)
        change_info(root, lambda info: info.update(fps=25))
        (finding,) = inspect_dataset(root, threads=1).findings
        assert (finding.code, str(finding.file)) == ("fps_wrong", "meta/info.json")
        assert finding.message == "`fps` is 25, the time stamps and videos have 30"
        mend(root)
        assert codes(root) == set()
        after = contents(root)
        assert info_of(root)["fps"] == 30
        assert {name for name in after if after[name] != before.get(name)} <= {"meta/info.json"}

    def test_a_rate_and_a_count(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        change_info(root, lambda info: info.update(fps=25, total_frames=1))
        assert codes(root) == {"fps_wrong", "total_frames"}
        mend(root)
        assert (codes(root), info_of(root)["fps"]) == (set(), 30)

    def test_a_rate_on_which_not_all_videos_agree(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        change_info(root, lambda info: info.update(fps=25))
        remux(video(root, episode=1), steady(20))
        before = contents(root)
        assert codes(root) == {"video_rate", "timestamps"}
        mend(root)
        assert contents(root) == before

    def test_an_info_that_time_stamps_and_videos_contradict(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        (root / "meta/info.json").unlink()
        change_table(table(root), timestamp=lambda column: column * 2)
        (plan,) = mend(root)
        (refusal,) = plan.refusals
        assert "the time stamps say 15 frames per second, the videos 30" in refusal.reason
        assert not (root / "meta/info.json").exists()

    def test_a_length_that_rows_and_videos_contradict(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        change_lines(root / "meta/episodes.jsonl", lambda lines: lines[1].update(length=9))
        assert "rows_mismatch" in codes(root)
        mend(root)
        assert codes(root) == set()
        assert [line["length"] for line in lines_of(root / "meta/episodes.jsonl")] == [6, 6, 6]

    def test_the_spread_of_pictures_is_that_of_the_pictures(self, whole: dict[str, Path], tmp_path: Path) -> None:
        """LeRobot 0.4.0 to 0.5.1 wrote zeros; the truth here is what was reckoned from the PNGs."""
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        true = lines_of(root / "meta/episodes_stats.jsonl")[1]["stats"][TOP]
        VARIANTS["overflow"].spoil(root)
        mend(root)
        found = lines_of(root / "meta/episodes_stats.jsonl")[1]["stats"][TOP]
        for name in ("mean", "std"):
            for one, other in zip(found[name], true[name], strict=True):
                assert one[0][0] == pytest.approx(other[0][0], abs=0.02)
        assert found["count"] == true["count"]

    def test_the_statistics_of_a_v20_dataset(self, tmp_path: Path) -> None:
        root = finish(recording(tmp_path / "dataset", version="v2.0", frames=6))
        true = json.loads((root / "meta/stats.json").read_text())
        (root / "meta/stats.json").unlink()
        assert codes(root) == {"stats_missing"}
        mend(root)
        assert codes(root, deep=True) == set()
        found = json.loads((root / "meta/stats.json").read_text())
        assert found["action"]["mean"] == pytest.approx(true["action"]["mean"])

    def test_other_lines_stay_byte_for_byte(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        before = (root / "meta/episodes_stats.jsonl").read_bytes().splitlines()
        VARIANTS["statistics of another"].spoil(root)
        mend(root)
        after = (root / "meta/episodes_stats.jsonl").read_bytes().splitlines()
        assert (after[0], after[2]) == (before[0], before[2])
        assert json.loads(after[1])["stats"]["action"] == json.loads(before[1])["stats"]["action"]

    def test_starts_of_a_drifting_file(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V30], root)
        VARIANTS["drift"].spoil(root)
        mend(root)
        starts = [row[f"videos/{TOP}/from_timestamp"] for row in read_episodes(root)]
        assert starts == pytest.approx([0, 6 / 30 + 2 / 3000, 12 / 30 + 4 / 3000], abs=2e-5)
        assert video_file(root, TOP).is_file()
