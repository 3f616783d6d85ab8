"""Mending what is broken: what the files tell how to mend becomes clean, the rest is left alone and said."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from episoded.daemon import repair, transaction
from episoded.daemon.claim import take
from episoded.daemon.control import REPAIRING, ControlDir
from episoded.daemon.errors import EpisodedError, NotAvailableError
from episoded.processors.lerobot.catalogue import CATALOGUE
from episoded.processors.lerobot.inspect import inspect_dataset
from episoded.processors.lerobot.reading import read_dataset
from lerobot_broken import V21, V30, VARIANTS, change_lines, change_table, cut_off, gap_v21, remux, steady
from lerobot_data import TOP, WRIST, change_info, finish, info_of, lines_of, recording, table, video
from lerobot_v30 import as_v30, data_table, read_episodes, video_file, write_episodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor
    from episoded.processors.lerobot.repair import Plan

    Start = Callable[..., Actor]

#: Repairable in general, but not here: the videos do not agree with the rows.
REFUSED = {"a row too few": {"rows_mismatch"}}
#: A line that cannot be read is not repairable in general, but statistics can be reckoned.
RECKONED = {"a torn line": {"meta_invalid"}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    v21 = finish(recording(folder / "v21", episodes=3, frames=6))
    return {V21: v21, V30: as_v30(v21, folder / "v30")}


def mend(root: Path, *, deep: bool = False) -> list[Plan]:
    plans: list[Plan] = []
    repair.repair(root, deep=deep, planned=plans.append, progress=lambda *_: None)
    return plans


def codes(root: Path, **how: Any) -> set[str]:
    return {finding.code for finding in inspect_dataset(root, threads=1, **how).findings}


def contents(root: Path) -> dict[str, str]:
    """Every file of the dataset itself, by digest."""
    files = [path for path in root.rglob("*") if path.is_file() and ".episoded" not in path.parts]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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


def lost(root: Path, before: dict[str, str]) -> set[str]:
    """Files whose bytes are neither in the dataset nor kept."""
    now = {hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}
    return {name for name, digest in before.items() if digest not in now}


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


class TestOthersAtWork:
    def test_a_claimed_episode(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        claim = take(ControlDir.of(root, "episode_000001"))
        with pytest.raises(NotAvailableError, match=r"episode_000001 .* is being worked on"):
            mend(root)
        assert not (root / ".episoded" / REPAIRING).exists()
        claim.close()
        mend(root)

    def test_no_episode_is_claimed_meanwhile(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset")
        with transaction.exclusive(root), pytest.raises(NotAvailableError) as raised:
            take(ControlDir.of(root, "episode_000000"))
        assert raised.value.code == "being_repaired"
        take(ControlDir.of(root, "episode_000000")).close()

    def test_a_recorder_that_has_a_file_open(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        VARIANTS["splits of another"].spoil(root)
        code = "import sys; file = open(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(root / "meta/episodes.jsonl")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as recorder:
            assert recorder.stdout is not None
            recorder.stdout.readline()
            with pytest.raises(NotAvailableError, match=f"process {recorder.pid} is writing"):
                mend(root)
            assert recorder.stdin is not None
            recorder.stdin.close()
        mend(root)

    def test_a_file_that_changes_while_the_plan_is_made(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        VARIANTS["splits of another"].spoil(root)
        info = (root / "meta/info.json").read_text()

        def record_on(plan: Plan) -> None:
            (root / "meta/info.json").write_text(info + "\n")

        with pytest.raises(EpisodedError) as raised:
            repair.repair(root, deep=False, planned=record_on, progress=lambda *_: None)
        assert raised.value.code == "changed_meanwhile"
        assert (root / "meta/info.json").read_text() == info + "\n"
        assert not (root / ".episoded" / REPAIRING).exists()

    @pytest.mark.parametrize("writes", ["before", "meanwhile"])
    def test_refused_it_leaves_no_folder(self, writes: str, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root, ignore=shutil.ignore_patterns(".episoded"))
        change_info(root, lambda info: info.update(total_videos=0))

        def planned(plan: Plan) -> None:
            (root / "meta/added.json").write_text("{}")

        written = table(root) if writes == "before" else tmp_path / "elsewhere"
        with written.open("ab") as file:
            recorder = subprocess.Popen(["sleep", "60"], stdout=file)
        try:
            with pytest.raises(EpisodedError) as refused:
                repair.repair(root, deep=False, planned=planned, progress=lambda *_: None)
        finally:
            recorder.kill()
            recorder.wait()
        assert refused.value.code == {"before": "recorder_writing", "meanwhile": "changed_meanwhile"}[writes]
        assert not (root / ".episoded").exists()

    def test_two_repairs(self, whole: dict[str, Path], tmp_path: Path) -> None:
        root = tmp_path / "dataset"
        shutil.copytree(whole[V21], root)
        with transaction.exclusive(root), pytest.raises(NotAvailableError) as raised:
            mend(root)
        assert raised.value.code == "being_repaired"


def test_a_kill_at_any_point(whole: dict[str, Path], tmp_path: Path, actor: Start) -> None:
    """The next repair goes on: in the end every file is as after one that was never killed, and nothing is lost."""
    source = tmp_path / "source"
    shutil.copytree(whole[V21], source)
    gap_v21(source)
    said = [line.partition(" ") for line in actor("crash_repair", source, tmp_path).rest()]
    assert {number: verdict for number, _, verdict in said if verdict != "ok"} == {}
    assert [int(number) for number, _, _ in said] == list(range(1, len(said) + 1))
    assert len(said) >= 30


def test_what_a_repair_that_died_leaves_is_known(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    gap_v21(root)
    environment = os.environ | {"EPISODED_CRASH_AT": "relocate:put"}
    command = [sys.executable, "-m", "episoded.daemon", "repair", str(root)]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -9
    assert "repair_unfinished" in codes(root)
    with pytest.raises(NotAvailableError):
        take(ControlDir.of(root, "episode_000000"))
    mend(root)
    assert codes(root) == set()


def turn_around(path: Path) -> None:
    rows = pq.read_table(path)
    pq.write_table(rows.take([*range(rows.num_rows - 1, -1, -1)]), path)


def test_rows_out_of_order_are_left_as_they_are(whole: dict[str, Path], tmp_path: Path) -> None:
    """Numbers by the place of the row would make them look right, beside pictures of other rows."""
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    turn_around(table(root, 1))
    before = contents(root)
    plans = mend(root)
    assert {refusal.finding.code for refusal in plans[0].refusals} == {"frame_index", "timestamps", "row_index"}
    assert contents(root) == before


def test_rows_out_of_order_stay_marked_where_a_gap_before_them_is_closed(
    whole: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    turn_around(table(root, 2))
    gap_v21(root)
    mend(root)
    assert {"frame_index", "timestamps"} <= codes(root)
    assert pq.read_table(table(root, 2)).column("frame_index").to_pylist() == [*range(5, -1, -1)]


def test_a_list_of_episodes_that_contradicts_the_rows_is_not_believed(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V30], root)
    rows = read_episodes(root)
    for row, length in zip(rows, (6, 7, 5), strict=True):
        row["length"] = length
    write_episodes(root, rows)
    before = contents(root)
    plans = mend(root)
    assert not plans[0].changes
    assert {"episode_index", "frame_index", "range_wrong"} <= {refusal.finding.code for refusal in plans[0].refusals}
    assert contents(root) == before


def test_no_list_of_episodes_is_made_where_nobody_knows_what_they_show(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    for name in ("tasks.jsonl", "episodes.jsonl", "episodes_stats.jsonl"):
        (root / "meta" / name).unlink()
    before = contents(root)
    plans = mend(root)
    assert not plans[0].changes
    assert contents(root) == before


def spoil_list(root: Path, content: bytes) -> None:
    (path,) = [*(root / "meta").glob("episodes.jsonl"), *(root / "meta/episodes").glob("*/*")]
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"\0garbage" * 20], ids=["empty", "garbage"])
@pytest.mark.parametrize("version", [V21, V30])
def test_a_list_of_episodes_that_says_nothing_is_made_anew(
    version: str, content: bytes, whole: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[version], root)
    listed = [entry.tasks for entry in read_dataset(root).episodes]
    spoil_list(root, content)
    assert "episodes_missing" in codes(root)
    before = contents(root)
    mend(root)
    assert codes(root) == set()
    assert [entry.tasks for entry in read_dataset(root).episodes] == listed
    assert lost(root, before) == set()
    assert contents(root).keys() == before.keys()


def test_a_list_of_episodes_without_one_episode_takes_no_tables_out(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V30], root)
    write_episodes(root, [])
    before = contents(root)
    mend(root)
    assert codes(root) == set()
    assert contents(root).keys() == before.keys()


def test_an_episode_whose_line_is_torn_stays(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    whole_list, before = lines_of(root / "meta/episodes.jsonl"), contents(root)
    cut_off(root / "meta/episodes.jsonl", 0.9)
    mend(root)
    assert codes(root) == set()
    assert lines_of(root / "meta/episodes.jsonl") == whole_list
    assert contents(root).keys() == before.keys()


def test_a_torn_list_waits_for_the_list_of_tasks(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    whole_list = lines_of(root / "meta/episodes.jsonl")
    (root / "meta/tasks.jsonl").unlink()
    cut_off(root / "meta/episodes.jsonl", 0.9)
    plans = mend(root)
    assert "meta_invalid" in {refusal.finding.code for refusal in plans[0].refusals}
    assert codes(root) == set()
    assert lines_of(root / "meta/episodes.jsonl") == whole_list


def test_videos_under_other_names_stay_while_episodes_lack_theirs(whole: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole[V21], root)
    for index in range(3):
        video(root, TOP, index).rename(video(root, TOP, index).with_name(f"take_{index}.mp4"))
    before = contents(root)
    plans = mend(root)
    assert {refusal.finding.code for refusal in plans[0].refusals} == {"video_missing", "video_stray"}
    assert contents(root) == before
