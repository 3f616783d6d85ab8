"""`episoded report`, `process --limit`: how long episodes took, which failed, and only some of them."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from commandline import Done, configure, episoded
from droid_data import change_state, episode_folder, tree
from episoded.daemon import report
from recordings import tiny

if TYPE_CHECKING:
    from pathlib import Path


class TestLimit:
    def process(self, tmp_path: Path, *more: object) -> Done:
        return episoded(
            "process", tmp_path / "droid", "--pipeline", "metadata-only", "--output", tmp_path / "out", *more
        )

    def ready(self, tmp_path: Path) -> int:
        return len(list(tmp_path.glob("out/.episoded/*/ready")))

    def test_takes_the_first_that_are_not_finished_yet(self, tmp_path: Path) -> None:
        tree(tmp_path / "droid", episodes=5)
        for limit, ready in ((2, 2), (2, 4), (0, 4), (-1, 5)):
            done = self.process(tmp_path, "--limit", limit)
            assert (done.code, self.ready(tmp_path)) == (0, ready), done.out + done.err

    def test_a_failure_among_them_is_one(self, tmp_path: Path) -> None:
        tree(tmp_path / "droid", episodes=3)
        change_state(episode_folder(tmp_path / "droid"), gripper_position=np.zeros(3))
        done = self.process(tmp_path, "--limit", 2)
        assert (done.code, self.ready(tmp_path)) == (1, 1)
        assert f"retry {tmp_path}/droid --output {tmp_path}/out" in done.out

    def test_less_than_all_is_no_number(self, tmp_path: Path) -> None:
        tree(tmp_path / "droid")
        assert self.process(tmp_path, "--limit", -2).code == 2


class TestReport:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Two finished DROID episodes, one that failed."""
        tree(tmp_path / "droid", episodes=3)
        change_state(episode_folder(tmp_path / "droid", 2), gripper_position=np.zeros(3))
        done = episoded(
            "process", tmp_path / "droid", "--pipeline", "metadata-only", "--output", tmp_path / "out", "--workers", 1
        )
        assert done.code == 1
        return tmp_path

    def test_csv_has_a_line_for_each_episode(self, place: Path) -> None:
        done = episoded("report", place / "droid", "--output", place / "out", "--csv")
        assert done.code == 0, done.err
        first, second, third = csv.DictReader(io.StringIO(done.out))
        assert [row["state"] for row in (first, second, third)] == ["ready", "ready", "failed"]
        for row in (first, second):
            assert 0 < float(row["tracks_s"]) <= float(row["elapsed_s"])
            assert (row["format"], row["files"], row["attempts"], row["code"]) == ("droid", "6", "1", "")
            assert float(row["began_at"]) < float(row["ready_at"])
            assert int(row["bytes"]) > 100_000
        assert (third["code"], third["failed_stage"], third["tracks_s"]) == ("state_shape", "tracks", "")
        assert [row["pipeline"] for row in (first, second, third)] == ["metadata-only"] * 3

    def test_summary(self, place: Path) -> None:
        out = episoded("report", place / "droid", "--output", place / "out").out
        assert "3 episodes, 2 ready, 12 files" in out
        assert "1 episode failed: state_shape" in out
        assert "claim to ready" in out

    def test_the_list_of_failures_is_what_retry_takes(self, place: Path) -> None:
        (name,) = episoded("report", place / "droid", "--output", place / "out", "--failed").out.split("\n")[:-1]
        done = episoded("retry", name, "--output", place / "out")
        assert done.code == 0, done.err
        assert "1 episode to be tried again" in done.out
        assert episoded("report", place / "droid", "--output", place / "out", "--failed").out == ""

    def test_of_a_lerobot_dataset(self, tmp_path: Path) -> None:
        root = tiny(tmp_path / "drop" / "ds", episodes=1)
        config = configure(tmp_path, tmp_path / "drop")
        before = episoded("report", root, "--csv", config=config)
        assert [row["state"] for row in csv.DictReader(io.StringIO(before.out))] == ["arriving"]
        assert episoded("process", root, config=config).code == 0
        (row,) = csv.DictReader(io.StringIO(episoded("report", root, "--csv", config=config).out))
        assert float(row["encode_s"]) >= 0
        assert float(row["work_s"]) == pytest.approx(float(row["encode_s"]) + float(row["metadata_s"]), abs=0.002)


def test_timings_of_many() -> None:
    row = partial(report.Row, "d", format="droid", pipeline="p", state="ready", attempts=1)
    found = [
        row(f"{k}", stages={"tracks": k / 10}, elapsed_s=k / 5, began_at=10.0 * k, ready_at=10.0 * k + 5)
        for k in range(100)
    ]
    tracks, whole = report.timings(found)
    assert (tracks.count, tracks.median, tracks.p95, tracks.longest) == (100, 4.95, 9.5, 9.9)
    assert whole.name == "claim to ready"
    assert report.per_hour(found) == pytest.approx(3600 * 100 / 995)
    assert report.per_hour(found[:1]) is None
