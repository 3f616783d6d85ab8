"""`episoded work`, `submit` and `run`: one episode for Slurm, the uploader's word, and the service."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from commandline import begin, configure, episoded, finish
from conftest import eventually
from episoded.daemon import service_file
from episoded.daemon.control import CONTROL, ControlDir, read_json
from recordings import EPISODE, leftovers, snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor


class TestWork:
    def test_one_episode_becomes_ready(self, tmp_path: Path) -> None:
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path)
        done = episoded("work", root / EPISODE, config=chosen)
        assert (done.code, done.out) == (0, f"{root}/{EPISODE}: ready\n")
        assert leftovers(root) == []

    def test_an_array_job_may_name_one_that_is_ready(self, tmp_path: Path) -> None:
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path)
        episoded("work", root / EPISODE, config=chosen)
        before = snapshot(root)
        done = episoded("work", root / EPISODE, config=chosen)
        assert (done.code, done.out) == (0, f"{root}/{EPISODE}: is ready already\n")
        assert snapshot(root) == before

    def test_a_failure_is_1_with_its_remedy(self, tmp_path: Path) -> None:
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path)
        next(root.glob("images/*/*/frame_000003.png")).unlink()
        first, again = (episoded("work", root / EPISODE, config=chosen) for _ in range(2))
        for done in (first, again):
            assert done.code == 1
            assert "frame_000003.png" in done.err
            assert "[frames_missing]" in done.err
            assert "what to do: " in done.err

    def test_one_in_other_hands_is_75(self, tmp_path: Path, actor: Callable[..., Actor]) -> None:
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path)
        owner = actor("hold", ControlDir.of(root, EPISODE).path)
        assert owner.heard() == "claimed 1"
        done = episoded("work", root / EPISODE, config=chosen)
        assert done.code == 75
        assert "is being worked on" in done.err

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_asked_to_stop_it_gives_the_claim_back(self, tmp_path: Path, number: int) -> None:
        root, chosen = tiny(tmp_path / "ds", frames=200), configure(tmp_path)
        control = ControlDir.of(root, EPISODE)
        working = begin("work", root / EPISODE, config=chosen)
        eventually(lambda: (read_json(control.progress(1)) or {}).get("done"), what="it encodes")
        working.send_signal(number)
        done = finish(working)
        assert (done.code, control.markers().outcome) == (75, "released")
        assert "call it again to go on" in done.err
        assert episoded("work", root / EPISODE, config=chosen).code == 0

    def test_a_dataset_with_several_is_4(self, tmp_path: Path) -> None:
        assert episoded("work", tiny(tmp_path / "ds", episodes=2), config=configure(tmp_path)).code == 4


class TestSubmit:
    @pytest.fixture
    def drop(self, tmp_path: Path) -> Path:
        (tmp_path / "drop").mkdir()
        return tmp_path / "drop"

    def test_a_dataset_is_marked_once(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "ds", episodes=2), configure(tmp_path, drop)
        first, again = (episoded("submit", root, config=chosen) for _ in range(2))
        assert (first.code, first.out) == (0, f"{root}: marked pending, 2 episodes\n")
        assert (again.code, again.out) == (0, f"{root}: was already marked pending, 2 episodes\n")
        assert (root / CONTROL / "pending").is_file()
        assert "no service is running" in first.err

    def test_so_is_a_single_episode(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "ds", episodes=2), configure(tmp_path, drop)
        assert episoded("submit", root / "episode_000001", config=chosen).code == 0
        pending = [ControlDir.of(root, f"episode_00000{number}").markers().pending for number in (0, 1)]
        assert pending == [False, True]

    def test_with_an_output_the_received_dataset_is_not_written_to(self, tmp_path: Path, drop: Path) -> None:
        root = tiny(drop / "ds")
        chosen = configure(tmp_path, f"[[drop]]\npath = '{drop}'\noutput = '{tmp_path}/out'\n")
        (tmp_path / "out").mkdir()
        before = snapshot(root)
        assert episoded("submit", root, config=chosen).code == 0
        assert snapshot(root) == before
        assert (tmp_path / "out" / "ds" / CONTROL / "pending").is_file()

    def test_what_no_service_would_see_is_refused(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(tmp_path / "elsewhere"), configure(tmp_path, drop)
        done = episoded("submit", root, config=chosen)
        assert done.code == 1
        assert "lies in no drop folder" in done.err
        assert not (root / CONTROL).exists()

    def test_what_cannot_be_processed_is_said(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "ds"), configure(tmp_path, drop)
        (root / "meta" / "info.json").write_text('{"codebase_version": "v1.6", "features": {}}')
        done = episoded("submit", root, config=chosen)
        assert done.code == 1
        assert "v1.6" in done.out

    def test_episodes_on_which_it_has_no_effect_are_named(self, tmp_path: Path, drop: Path) -> None:
        root, chosen = tiny(drop / "ds", episodes=2), configure(tmp_path, drop)
        next(root.glob("images/*/episode_000001/frame_000003.png")).unlink()
        assert episoded("process", root, config=chosen).code == 1
        done = episoded("submit", root, config=chosen)
        assert "episode_000001: has failed; `episoded retry` tries again" in done.out


class TestRun:
    def test_a_service_works_and_drains(self, tmp_path: Path) -> None:
        drop = tmp_path / "drop"
        drop.mkdir()
        root, chosen = tiny(drop / "ds", episodes=2), configure(tmp_path, drop)
        service = begin("run", config=chosen)
        eventually(lambda: service_file.hear(tmp_path / "state"), what="the service runs")
        assert episoded("submit", root, config=chosen).err == ""
        waited = episoded("wait", root, "--timeout", 60, config=chosen)
        running = episoded("status", "--json", config=chosen).json["service"]
        service.send_signal(signal.SIGTERM)
        done = finish(service)
        assert (waited.code, done.code, done.out) == (0, 0, "")
        assert (running["running"], running["pid"]) == (True, service.pid)
        assert leftovers(root) == []
        assert episoded("status", "--json", config=chosen).json["service"]["running"] is False

    def test_with_nothing_to_watch_it_does_not_start(self, tmp_path: Path) -> None:
        done = episoded("run", config=configure(tmp_path))
        assert done.code == 78
        assert "names no drop folder" in done.err

    def test_two_on_one_state_directory_do_not_start(self, tmp_path: Path) -> None:
        chosen = configure(tmp_path, tmp_path / "drop")
        with service_file.only_one(tmp_path / "state"):
            done = episoded("run", config=chosen)
        assert done.code == 78
        assert "another episoded service uses" in done.err
