"""Workers are real processes; they are killed, stopped, drained, and the others go on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from conftest import eventually, process_state
from episoded.daemon import supervisor as module
from episoded.daemon.claim import Leases
from episoded.daemon.config import Config
from episoded.daemon.jobs import Job
from episoded.daemon.supervisor import Ending, Supervisor
from episoded.daemon.wakeup import Wakeup
from recordings import broken_laws, leftovers, tiny, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STALL_S = 600.0


class Pool:
    """A supervisor with a clock of ours."""

    def __init__(self, **workers: object) -> None:
        self.now = 0.0
        config = Config.model_validate({"workers": {"cpu": 1, "stall_s": STALL_S} | workers})
        self.supervisor = Supervisor(config, lambda: self.now)
        self.wakeup = Wakeup()

    def give(self, root: Path, kind: str = "work") -> Job:
        job = Job(kind, work(root))  # type: ignore[arg-type]
        assert self.supervisor.assign(job)
        return job

    def ending(self) -> Ending:
        """The end of the next job that ends."""

        def poll() -> list[Ending]:
            self.wakeup.wait(0.1, self.supervisor.connections)
            return self.supervisor.poll()

        (ending,) = eventually(poll, what="a job to end")
        return ending

    def pid(self, slot: int = 0) -> int:
        process = self.supervisor.slots[slot].process
        assert process is not None
        return process.pid

    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self.supervisor.slots if slot.process]

    def stopped(self, slot: int = 0) -> bool:
        self.supervisor.poll()
        return process_state(self.pid(slot)) == "T"


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(**workers: object) -> Pool:
        pools.append(Pool(**workers))
        return pools[-1]

    yield make
    for one in pools:
        pids = one.pids()
        one.supervisor.close()
        one.wakeup.close()
        assert [pid for pid in pids if process_state(pid)] == [], "an orphan"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny(tmp_path / "dataset")


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes every worker stop itself (SIGSTOP) at a crash point: an episode in flight, for as long as a test needs."""

    def arm(point: str) -> None:
        monkeypatch.setenv("EPISODED_CRASH_SIGNAL", "STOP")
        monkeypatch.setenv("EPISODED_CRASH_AT", point)

    return arm


def failure(job: Job) -> dict[str, object]:
    record = job.work.control.failure(job.work.control.markers())
    assert record is not None
    return record


class TestWork:
    def test_a_job_is_done_and_its_worker_kept_for_the_next(self, pool: Callable[..., Pool], tmp_path: Path) -> None:
        one = pool()
        first, second = tiny(tmp_path / "first"), tiny(tmp_path / "second")
        job = one.give(first)
        assert one.ending() == Ending(job, "ready")
        pid = one.pid()
        one.give(second)
        assert one.ending().ended == "ready"
        assert one.pid() == pid
        assert leftovers(first) + leftovers(second) == []

    def test_no_more_jobs_than_slots(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        assert not one.supervisor.assign(Job("work", work(root)))
        one.ending()

    def test_what_a_worker_cannot_claim_is_no_failure(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        one.ending()
        one.give(root)
        assert one.ending().ended == "not_available"

    def test_a_worker_is_replaced_after_a_failure_and_after_many_episodes(
        self, pool: Callable[..., Pool], tmp_path: Path
    ) -> None:
        one = pool(recycle_after=2)
        bad = tiny(tmp_path / "bad")
        next(iter(bad.rglob("*.png"))).write_bytes(b"no picture")
        one.give(bad)
        assert one.ending().ended == "failed"
        assert one.pids() == []
        for number, kept in enumerate([True, False]):
            one.give(tiny(tmp_path / str(number)))
            assert one.ending().ended == "ready"
            assert bool(one.pids()) is kept

    def test_progress_is_heard(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        (slot,) = one.supervisor.slots
        one.ending()
        assert (slot.report.ended, slot.busy) == ("ready", False)


class TestDeath:
    def test_costs_its_episode_one_attempt_and_nothing_else(
        self, pool: Callable[..., Pool], tmp_path: Path, stop_at: Callable[[str], None]
    ) -> None:
        one = pool(cpu=2)
        stop_at("publish_file:linked")
        victim = one.give(tiny(tmp_path / "victim"))
        eventually(one.stopped)
        stop_at("")
        other = one.give(tiny(tmp_path / "other"))
        os.kill(one.pid(), signal.SIGKILL)
        ended = {ending.job.work.root: ending for ending in (one.ending(), one.ending())}
        assert ended[other.work.root] == Ending(other, "ready")
        assert ended[victim.work.root] == Ending(victim, "died", "was killed by SIGKILL")
        assert failure(victim)["code"] == "worker_died"
        assert failure(victim)["stage"] == "encode"
        assert failure(victim)["attempt"] == 1
        assert not victim.work.control.markers().final
        assert broken_laws(victim.work.root) == []
        one.give(victim.work.root)
        assert one.ending().ended == "ready"
        assert leftovers(victim.work.root) == []

    def test_three_times_fails_the_episode(
        self, pool: Callable[..., Pool], root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EPISODED_CRASH_AT", "publish_file:synced")
        one = pool()
        for attempt in (1, 2, 3):
            job = one.give(root)
            assert one.ending().ended == "died"
            assert failure(job)["attempt"] == attempt
        assert job.work.control.markers().failed

    def test_after_ready_costs_nothing_and_is_tidied_up(
        self, pool: Callable[..., Pool], root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = pool()
        with monkeypatch.context() as patch:
            patch.setenv("EPISODED_CRASH_AT", "remove:unlinked")
            job = one.give(root)
            assert one.ending().ended == "died"
        markers = job.work.control.markers()
        assert (markers.ready, markers.cleaned, markers.outcome) == (True, False, None)
        one.give(root, "tidy")
        assert one.ending().ended == "tidied"
        assert leftovers(root) == []

    def test_before_it_had_the_claim_costs_nothing(
        self, pool: Callable[..., Pool], root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker that cannot even start says nothing about the episode."""
        monkeypatch.setattr(module.sys, "executable", "/bin/false")
        one = pool()
        job = one.give(root)
        assert one.ending() == Ending(job, "died", "exited with status 1")
        assert job.work.control.markers().generation == 0

    def test_of_an_idle_worker_is_noticed_and_made_good(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        one.ending()
        os.kill(pid := one.pid(), signal.SIGKILL)
        eventually(lambda: one.supervisor.poll() or not one.pids())
        one.give(root)
        assert one.ending().ended == "not_available"
        assert one.pid() != pid

    def test_of_an_idle_worker_that_nobody_noticed_yet(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        one.ending()
        os.kill(one.pid(), signal.SIGKILL)
        os.waitid(os.P_PID, one.pid(), os.WEXITED | os.WNOWAIT)
        one.give(root)
        assert one.ending().ended == "not_available"

    def test_is_not_charged_to_the_next_owner(self, pool: Callable[..., Pool], root: Path) -> None:
        """Somebody else took the episode over before we looked."""
        one = pool()
        job = Job("work", work(root))
        job.work.control.create()
        job.work.control.claim(1).write_text('{"pid": 1}')
        one.supervisor._charge(job, pid=2, error=module.RetryableError("worker_died", "died"), stage="")
        assert job.work.control.markers().outcome is None

    def test_of_the_service_takes_its_workers_along(
        self, root: Path, actor: Callable[..., object], stop_at: Callable[[str], None]
    ) -> None:
        stop_at("publish_file:linked")
        service = actor("supervise", root)
        worker = int(service.heard())  # type: ignore[attr-defined]
        claim = work(root).control.claim(1)
        eventually(lambda: claim.exists() and process_state(worker) == "T")
        assert Leases().alive(claim)
        service.kill()  # type: ignore[attr-defined]
        eventually(lambda: process_state(worker) is None)
        assert not Leases().alive(claim)


class TestStall:
    def test_a_worker_without_progress_is_killed_and_the_place_named(
        self, pool: Callable[..., Pool], root: Path, stop_at: Callable[[str], None]
    ) -> None:
        one = pool()
        stop_at("publish_file:linked")
        job = one.give(root)
        pid = one.pid()
        eventually(one.stopped)
        one.now += STALL_S
        assert one.supervisor.poll() == []
        one.now += 1
        assert one.supervisor.poll() == [Ending(job, "died", "stalled")]
        assert process_state(pid) is None
        assert failure(job)["code"] == "stalled"
        assert "encode observation.images.top" in str(failure(job)["message"])
        assert not Leases().alive(job.work.control.claim(1))

    def test_progress_puts_it_off(self, pool: Callable[..., Pool], root: Path, stop_at: Callable[[str], None]) -> None:
        one = pool()
        stop_at("publish_file:linked")
        one.give(root)
        eventually(one.stopped)
        one.now += STALL_S
        os.kill(one.pid(), signal.SIGCONT)
        assert one.ending().ended == "ready"


class TestDrain:
    def test_gives_back_at_the_next_unit_and_resumes_later(
        self, pool: Callable[..., Pool], root: Path, stop_at: Callable[[str], None]
    ) -> None:
        one = pool()
        stop_at("publish_file:linked")
        job = one.give(root)
        eventually(one.stopped)
        one.supervisor.drain()
        os.kill(one.pid(), signal.SIGCONT)
        assert one.ending() == Ending(job, "released")
        markers = job.work.control.markers()
        assert (markers.outcome, markers.final) == ("released", False)
        assert len(list(root.glob("videos/**/*.mp4"))) == 1, "the unit in hand was finished"
        stop_at("")
        eventually(lambda: one.supervisor.poll() or not one.pids())
        one.give(root)
        assert one.ending().ended == "ready"
        assert leftovers(root) == []

    def test_an_idle_worker_ends_with_close(self, pool: Callable[..., Pool], root: Path) -> None:
        one = pool()
        one.give(root)
        one.ending()
        pid = one.pid()
        one.supervisor.drain()
        one.supervisor.close()
        assert process_state(pid) is None

    def test_close_takes_the_claim_from_one_that_hangs(
        self, pool: Callable[..., Pool], root: Path, stop_at: Callable[[str], None]
    ) -> None:
        one = pool()
        stop_at("publish_file:linked")
        job = one.give(root)
        eventually(one.stopped)
        one.supervisor.close(grace_s=0)
        assert not Leases().alive(job.work.control.claim(1))
        assert not job.work.control.markers().final


def test_a_mend_job_says_what_it_changed(pool: Callable[..., Pool], root: Path) -> None:
    one = pool()
    one.give(root)
    one.ending()
    recorder = root / "meta" / "info.json"
    finished = recorder.read_bytes()
    recorder.write_bytes(finished.replace(b'"has_audio": false', b'"has_audio": true'))
    one.give(root, "mend")
    ending = one.ending()
    assert (ending.ended, ending.reason) == ("mended", "meta/info.json")
    assert recorder.read_bytes() == finished
