"""A disk that is full, really: nothing is lost, nothing is done by halves, no attempt is used up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from commandline import episoded
from episoded.daemon.attempts import is_waiting
from episoded.daemon.chain import work_on
from episoded.daemon.config import Config
from episoded.daemon.dispatch import Dispatcher
from episoded.daemon.guard import Guard
from episoded.daemon.jobs import Job
from episoded.daemon.scan import Scanner
from episoded.daemon.stumbles import STUMBLE_S
from episoded.daemon.supervisor import Ending
from episoded.daemon.worker import StopRequests, perform
from lerobot_data import change_info, finish, recording
from recordings import EPISODE, Originals, broken_laws, contents, leftovers, tiny, work

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 4096


@pytest.fixture
def root(small_disk: Path) -> Path:
    return tiny(small_disk / "drop" / "arm")


def fill(disk: Path, leave: int) -> Path:
    """Fill the disk but for so many blocks."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(disk).f_bfree
        os.posix_fallocate(file.fileno(), 0, max(0, free - leave) * BLOCK)
    return ballast


@pytest.mark.parametrize("blocks", [*range(13), 40])
def test_at_whatever_step_it_fills_up(small_disk: Path, root: Path, blocks: int) -> None:
    originals, task = Originals.of(root), work(root)
    task.control.submit()
    ballast = fill(small_disk, leave=blocks)
    ended, _ = perform(Job("work", task), StopRequests())
    assert ended in ("error", "waiting", "ready")
    assert broken_laws(root) == []
    markers = task.control.markers()
    assert not markers.failed
    if ended == "waiting":
        failure = task.control.failure(markers)
        assert failure is not None
        assert (failure["code"], failure["counted"]) == ("disk_full", False)
        assert is_waiting(task.control, markers.generation)
    ballast.unlink()
    if ended != "ready":
        assert work_on(task) == "ready"
    assert leftovers(root) + originals.missing_from(root) == []


def test_many_attempts_neither_fail_the_episode_nor_pile_up_scratch(small_disk: Path) -> None:
    """Each attempt gets as far into the video as the one before: what it had made is gone from the disk."""
    task = work(tiny(small_disk / "arm", frames=60))
    ballast = fill(small_disk, leave=12)
    for _ in range(3):
        assert perform(Job("work", task), StopRequests())[0] == "waiting"
        unpublished = [
            path for path in task.control.path.glob("g*/**/*") if path.is_file() and path.stat().st_nlink == 1
        ]
        assert unpublished == []
    ballast.unlink()
    assert work_on(task) == "ready"


def test_an_episode_whose_failure_could_not_be_recorded_rests(small_disk: Path, root: Path) -> None:
    """Not a block for the record of the failure: begun again at once, it would be begun a hundred times a second."""
    config = Config.model_validate({"drop": [{"path": root.parent, "complete": "rename"}]})
    now = 0.0
    dispatcher = Dispatcher(config, Guard(config.guard, lambda _: 1 << 50, lambda: 1 << 40), lambda: now)
    scanner = Scanner(config.drops)
    assert dispatcher.take_in(scanner.scan())
    fill(small_disk, leave=0)

    def offered() -> list[Job]:
        dispatcher.take_in(scanner.scan())
        return dispatcher.next_jobs([], 1)

    pause = STUMBLE_S
    for _ in range(3):
        (job,) = offered()
        ended, reason = perform(job, StopRequests())
        assert (ended, "No space left" in reason) == ("error", True)
        dispatcher.ended(Ending(job, ended, reason))
        assert dispatcher.look_again_s() == pause
        now += 0.99 * pause
        assert offered() == []
        assert "No space left" in dispatcher.held[str(root / ".episoded" / EPISODE)]
        now += 0.01 * pause
        pause *= 2


def test_the_guard_stops_claiming_before_it_comes_to_that(small_disk: Path, root: Path) -> None:
    """And goes on only when there is clearly more room: one finished episode must not make it flap."""
    settings = {"guard": {"disk_low": 10 * BLOCK, "disk_high": 40 * BLOCK, "memory_low": 0}}
    config = Config.model_validate({"drop": [{"path": root.parent, "complete": "rename"}], **settings})
    dispatcher, scanner = Dispatcher(config), Scanner(config.drops)

    def paused(free: int) -> bool:
        fill(small_disk, leave=free)
        dispatcher.take_in(scanner.scan())
        (small_disk / "ballast").unlink()
        return str(root) in dispatcher.paused and dispatcher.next_jobs([], 1) == []

    assert [paused(free) for free in (60, 20, 5, 20, 39, 50, 20)] == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("command", ["repair", "convert"])
def test_a_command_says_that_it_has_to_be_given_again(small_disk: Path, command: str) -> None:
    root = finish(recording(small_disk / "ds", episodes=1, frames=6))
    change_info(root, lambda info: info.update(total_videos=0))
    before = contents(root)
    fill(small_disk, leave=0)
    done = episoded(command, root, *(["--to", "v3.0"] if command == "convert" else []))
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "what to do: free disk space, then give the same command again" in done.err
    (small_disk / "ballast").unlink()
    assert contents(root) == before
    assert not (small_disk / "ds_v30/meta").exists()
    again = episoded(command, root, *(["--to", "v3.0"] if command == "convert" else []))
    assert again.code == 0, again.err
