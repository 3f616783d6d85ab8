"""When a batch is due, and when a destination is tried again: decided by a clock of the test's own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from episoded.daemon.publisher.backlog import STAGED_AT_ONCE, Backlog
from episoded.daemon.publisher.jobs import Dataset, Job, Outcome, Staged, Trouble
from episoded.daemon.publisher.lane import LONGEST_S, OFFLINE_S, PROBE_S, Lane
from episoded.daemon.publisher.manifest import Item
from publishing import destination

ARM = Dataset("arm", Path("/drop/arm"), Path("/drop/arm"), "lerobot")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(*numbers: int) -> dict[Path, tuple[Item, Dataset]]:
    items = [Item("arm", ARM.root, ARM.output, f"episode_{number:06d}", "lerobot") for number in numbers]
    return {item.control.path: (item, ARM) for item in items}


def told(number: int, files: int = 5, size: int = 1000, place: str = "here") -> Staged:
    return Staged(ARM.output / ".episoded" / f"episode_{number:06d}", place, files, size)


def ids(entries: Any) -> list[int]:
    return [int(entry.item.episode[-6:]) for entry in entries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestBatches:
    @pytest.fixture
    def backlog(self, clock: Clock) -> Backlog:
        settings = {"interval_s": 600, "max_files": 100, "max_bytes": 10_000}
        return Backlog(destination("folder", {"path": "/mnt"}, **settings), clock)

    def test_due_when_the_oldest_has_waited_long_enough(self, backlog: Backlog, clock: Clock) -> None:
        backlog.take_in(waiting(1))
        backlog.staged([told(1)])
        clock.now = 300
        backlog.take_in(waiting(1, 2))
        backlog.staged([told(2)])
        clock.now = 599
        assert backlog.due() == ()
        assert backlog.due_in_s() == 1
        clock.now = 600
        assert ids(backlog.due()) == [1, 2]

    @pytest.mark.parametrize(("size", "files"), [(1, 50), (5000, 1)])
    def test_due_when_it_is_full(self, backlog: Backlog, size: int, files: int) -> None:
        backlog.take_in(waiting(1, 2, 3))
        backlog.staged([told(1, files, size)])
        assert backlog.due() == ()
        backlog.staged([told(2, files, size), told(3, files, size)])
        assert ids(backlog.due()) == [1, 2]

    def test_an_episode_is_never_divided(self, backlog: Backlog) -> None:
        backlog.take_in(waiting(1, 2))
        backlog.staged([told(1, files=500), told(2, files=60)])
        assert ids(backlog.due()) == [1]

    @pytest.mark.parametrize(("count", "batches"), [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1])])
    def test_a_hundred_files_to_a_batch(self, backlog: Backlog, count: int, batches: list[int]) -> None:
        backlog.take_in(waiting(*range(count)))
        backlog.staged([told(number, files=1, size=1) for number in range(count)])
        sizes = []
        while batch := backlog.due(flush=True):
            sizes.append(len(batch))
            backlog.over([entry.item.control.path for entry in batch])
        assert sizes == batches

    def test_a_flush_does_not_wait(self, backlog: Backlog) -> None:
        backlog.take_in(waiting(1))
        assert backlog.due(flush=True) == (), "its bytes move first"
        backlog.staged([told(1)])
        assert ids(backlog.due(flush=True)) == [1]

    def test_a_batch_is_of_one_place(self, backlog: Backlog) -> None:
        backlog.take_in(waiting(1, 2, 3))
        backlog.staged([told(1, place="here"), told(2, place="there"), told(3, place="here")])
        assert ids(backlog.due(flush=True)) == [1, 3]

    def test_bytes_move_in_the_order_of_arrival(self, backlog: Backlog) -> None:
        backlog.take_in(waiting(*range(STAGED_AT_ONCE + 5)))
        assert ids(backlog.unstaged()) == list(range(STAGED_AT_ONCE))

    def test_what_has_its_receipt_waits_no_more(self, backlog: Backlog) -> None:
        backlog.take_in(waiting(1, 2))
        backlog.over([told(1).control])
        assert len(backlog) == 1
        backlog.take_in(waiting(2))
        assert ids(backlog.unstaged()) == [2]

    def test_ten_thousand_episodes_are_batched_in_bounded_memory(self, backlog: Backlog) -> None:
        import tracemalloc

        everything = waiting(*range(10_000))
        tracemalloc.start()
        backlog.take_in(everything)
        batches = 0
        while len(backlog):
            backlog.staged(told(number, files=1, size=1) for number in ids(backlog.unstaged()))
            if batch := backlog.due(flush=len(backlog) <= STAGED_AT_ONCE):
                batches += 1
                backlog.over([entry.item.control.path for entry in batch])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 100 <= batches <= 200
        assert peak < 20 << 20


@dataclass
class Told:
    """A lane that has something to do, and a way to have its jobs end."""

    clock: Clock
    lane: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.lane = Lane(destination("folder", {"path": "/mnt"}), self.clock, random.Random(0))
        self.lane.datasets = {ARM.output: ARM}
        self.lane.backlog.take_in(waiting(1))

    def next(self) -> Job | None:
        return self.lane.next_job(lambda *_: False)

    def ends(self, **trouble: Any) -> Job:
        job = self.next()
        assert job is not None
        self.lane.begin(job)
        self.lane.ended(Outcome(trouble=Trouble(**trouble) if trouble else None))
        return job

    def pause(self) -> float:
        """How long until the next job."""
        return self.lane.not_before - self.clock()


class TestAgain:
    @pytest.fixture
    def told(self, clock: Clock) -> Told:
        return Told(clock)

    def test_quickly_at_first_then_from_ten_minutes_to_an_hour(self, told: Told) -> None:
        pauses = []
        for _ in range(12):
            told.ends(kind="transient", code="server_error", message="503")
            pauses.append(told.pause())
            told.clock.now += told.pause()
        assert pauses[0] < 3
        assert sum(pauses[:7]) < 300
        assert pauses[7] >= 600
        assert max(pauses) <= LONGEST_S
        assert told.lane.blocked is None, "it may be back any time"

    def test_as_long_as_the_server_asked_and_no_longer_than_an_hour(self, told: Told) -> None:
        told.ends(kind="transient", code="rate_limited", message="429", after_s=300.0)
        assert 300 <= told.pause() <= 360
        told.clock.now += told.pause()
        told.ends(kind="transient", code="rate_limited", message="429", after_s=90_000.0)
        assert told.pause() == LONGEST_S

    def test_offline_for_hours(self, told: Told) -> None:
        """It is looked for again and again, and known since when."""
        since = None
        while told.clock.now < 5 * 3600:
            told.ends(kind="transient", code="offline", message="refused", offline=True)
            since = since or told.lane.offline_since
            assert told.lane.offline_since == since
            assert told.pause() <= OFFLINE_S * 1.2
            told.clock.now += told.pause()
        told.ends()
        assert told.lane.offline_since is None
        told.lane.backlog.take_in(waiting(1))
        assert told.next() is not None

    def test_blocked_until_a_person_says_so_or_the_half_hourly_look_gets_in(self, told: Told) -> None:
        told.ends(kind="blocked", code="token_refused", message="401", hint="renew it")
        assert told.next() is None
        told.clock.now += PROBE_S
        job = told.ends(kind="blocked", code="token_refused", message="401", hint="renew it")
        assert (job.kind, job.create) == ("probe", False)
        told.clock.now += PROBE_S
        assert told.ends().kind == "probe"
        assert told.lane.blocked is None
        job = told.next()
        assert job is not None
        assert job.kind == "stage"

    def test_resumed_it_may_make_anew_what_is_gone(self, told: Told) -> None:
        told.ends(kind="blocked", code="repo_missing", message="404")
        told.lane.resume()
        job = told.ends()
        assert (job.kind, job.create) == ("probe", True)
        assert told.ends().kind == "stage"

    @pytest.mark.parametrize("code", ["internal", "not_proven", "xet_stale"])
    def test_three_times_is_no_accident(self, told: Told, code: str) -> None:
        for _ in range(3):
            assert told.lane.blocked is None
            told.clock.now += told.pause()
            told.ends(kind="transient", code=code, message="again")
        assert told.lane.blocked
        assert "episoded resume" in told.lane.blocked.hint
        told.clock.now += 10 * PROBE_S
        assert told.next() is None, "a look from outside would say that all is well"

    def test_after_two_stalls_the_plain_way(self, told: Told) -> None:
        for expected in (False, True):
            told.clock.now += told.pause()
            job = told.next()
            assert job is not None
            told.lane.begin(job)
            told.lane.died("silent", stalled=True)
            assert told.lane.without_xet is expected

    def test_a_jump_of_the_wall_clock_changes_nothing(self, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        told.ends(kind="transient", code="server_error", message="503", after_s=100.0)
        monkeypatch.setattr("time.time", lambda: 4e9)
        assert told.next() is None
        told.clock.now += 120
        assert told.next() is not None
