"""A repair is alone with its dataset, and can be killed at any point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from broken_datasets import (
    codes,
    mend,
    whole,  # noqa: F401 - a fixture
)
from episoded.daemon import repair, transaction
from episoded.daemon.claim import take
from episoded.daemon.control import REPAIRING, ControlDir
from episoded.daemon.errors import EpisodedError, NotAvailableError
from lerobot_broken import V21, VARIANTS, gap_v21
from lerobot_data import change_info, recording, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor
    from episoded.processors.lerobot.repair import Plan

    Start = Callable[..., Actor]


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
