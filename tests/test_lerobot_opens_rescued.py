"""Sessions of LeRobot 0.4.4 itself that were never encoded, crashed or were killed: finished, and given back to it.

`make test-lerobot` builds the environment that this needs, once.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest

import lerobot_judge
from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats
from lerobot_data import TOP, WRIST, info_of, recording

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lerobot

LEAST_PSNR_DB: Final = 27.0  # of RGB; LeRobot's own crf is 30
V3 = formats.by_name("lerobot-v3")
NEVER: Final = 1000
#: How each was recorded: sessions of LeRobot's in turn, each finished before the next.
SESSIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "never encoded": [{"batch": NEVER, "end": "finalize", "episodes": [0, 3]}],
    "killed": [{"batch": NEVER, "end": "kill", "episodes": [0, 3]}],
    "killed after ten": [{"batch": NEVER, "end": "kill", "episodes": [0, 11]}],
    "crashed while it encoded a batch": [{"batch": 2, "end": "leave", "episodes": [0, 3]}],
    "encoded, then killed": [{"batch": 1, "end": "kill", "episodes": [0, 3]}],
    "killed in its second session": [
        {"batch": NEVER, "end": "finalize", "episodes": [0, 2]},
        {"batch": NEVER, "end": "kill", "episodes": [2, 4]},
    ],
    "killed after sessions that it encoded": [
        {"batch": 1, "end": "finalize", "episodes": [0, 2]},
        {"batch": 1, "end": "kill", "episodes": [2, 4]},
        {"batch": NEVER, "end": "kill", "episodes": [4, 6]},
    ],
}
#: It records two episodes and fails when it begins to encode them.
EPISODES: Final = {name: sessions[-1]["episodes"][1] for name, sessions in SESSIONS.items()} | {
    "crashed while it encoded a batch": 2
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is played to the recorder."""
    if not lerobot_judge.is_built("v30"):
        pytest.skip("needs LeRobot 0.4.4: python tests/lerobot_judge.py build v30")
    return recording(tmp_path_factory.mktemp("source") / "played", episodes=11, frames=8, size=(96, 128))


@pytest.fixture(scope="module")
def rescued(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dataset, finished by the real chain after each of its sessions."""
    folder = tmp_path_factory.mktemp("recorded")
    roots = {name: folder / name / "dataset" for name in SESSIONS}
    for turn in range(3):
        jobs = [
            {"do": "record", "source": str(source), "root": str(root), **SESSIONS[name][turn]}
            for name, root in roots.items()
            if turn < len(SESSIONS[name])
        ]
        for verdict in lerobot_judge.ask("v30", jobs):
            assert verdict["ok"], verdict.get("trace")
        for name, root in roots.items():
            if turn == 0:
                shutil.copytree(root, root.with_name("as recorded"))
            if turn < len(SESSIONS[name]):
                finish(root)
    return roots


def finish(root: Path) -> None:
    settings = Pipeline.model_validate({"name": "test"})
    for episode in V3.listing(root).episodes:
        if not (root / ".episoded" / episode / "ready").exists():
            assert work_on(Work(root, root, episode, V3.name, settings)) == "ready"


@pytest.fixture(scope="module")
def verdicts(
    rescued: dict[str, Path], source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], dict[str, Any]]:
    jobs = []
    for name, root in rescued.items():
        copy = tmp_path_factory.mktemp("resumed") / "dataset"
        shutil.copytree(root, copy)
        jobs += [
            {"do": "open", "root": str(root), "source": str(source), "name": name},
            {"do": "resume", "root": str(copy), "source": str(source), "name": name},
        ]
    answers = lerobot_judge.ask("v30", jobs)
    return {(str(job["do"]), str(job["name"])): answer for job, answer in zip(jobs, answers, strict=True)}


def names_in(path: Path) -> list[str]:
    names: list[str] = pq.read_schema(path).names
    return names


@pytest.mark.parametrize("name", SESSIONS)
class TestLeRobot044:
    def test_was_really_broken(self, rescued: dict[str, Path], name: str) -> None:
        root = rescued[name].with_name("as recorded")
        closed = [path.read_bytes().endswith(b"PAR1") for path in sorted(root.glob("data/*/*.parquet"))]
        assert closed == [SESSIONS[name][0]["end"] != "kill"]
        if SESSIONS[name][0]["end"] == "kill":
            assert (root / "meta/episodes").is_dir() == ("ten" in name)
        columns = {column for path in root.glob("meta/episodes/*/*.parquet") if closed[0] for column in names_in(path)}
        assert any(column.startswith("videos/") for column in columns) == (
            name == "killed after sessions that it encoded"
        )

    def test_opens_it_and_reads_the_right_frames(
        self, verdicts: dict[tuple[str, str], dict[str, Any]], name: str
    ) -> None:
        opened = verdicts["open", name]
        assert opened["ok"], opened.get("trace")
        assert (opened["episodes"], opened["frames"]) == (EPISODES[name], 8 * EPISODES[name])
        assert set(opened["cameras"]) == {TOP, WRIST}
        assert len(opened["psnr"]) == EPISODES[name] * 2 * 2 * len(opened["backends"])
        for which, (own, neighbour) in opened["psnr"].items():
            assert own > LEAST_PSNR_DB, which
            assert own >= neighbour, which
        assert set(opened["stats"]) >= {TOP, WRIST, "action", "observation.state"}

    def test_records_on(self, verdicts: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
        resumed = verdicts["resume", name]
        assert resumed["ok"], resumed.get("trace")
        assert resumed["episodes"] == resumed["before"] + 1 == EPISODES[name] + 1
        assert (resumed["last_frame"], resumed["task"]) == (2, "Carry on.")

    def test_every_row_is_the_one_that_was_recorded(self, rescued: dict[str, Path], source: Path, name: str) -> None:
        for key in ("observation.state", "action", "timestamp", "frame_index", "episode_index", "index"):
            tables = [pq.read_table(path, columns=[key]) for path in sorted(rescued[name].glob("data/*/*.parquet"))]
            found = [row for table in tables for row in table.column(key).to_pylist()]
            played = [pq.read_table(path, columns=[key]) for path in sorted(source.glob("data/*/*.parquet"))]
            due = [row for table in played[: EPISODES[name]] for row in table.column(key).to_pylist()]
            assert found == due

    def test_the_statistics_are_right(self, rescued: dict[str, Path], source: Path, name: str) -> None:
        """Also where the recorder's were not: its spread of pictures is 0 up to 0.5.1."""
        found = json.loads((rescued[name] / "meta/stats.json").read_bytes())
        played = [pq.read_table(path).column("action").to_pylist() for path in sorted(source.glob("data/*/*.parquet"))]
        due = np.concatenate(played[: EPISODES[name]])
        np.testing.assert_allclose(found["action"]["mean"], due.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["action"]["std"], due.std(axis=0), rtol=1e-3, atol=1e-5)
        assert found["action"]["count"] == [len(due)]
        assert min(np.ravel(found[TOP]["std"])) > 0.01
        assert info_of(rescued[name])["total_frames"] == len(due)
