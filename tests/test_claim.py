"""The right of one living process to work on an episode."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from conftest import eventually
from episoded.daemon.claim import Claim, Leases, take
from episoded.daemon.control import REPAIRING, ControlDir, read_json
from episoded.daemon.errors import ClaimLostError, NotAvailableError
from episoded.daemon.state import State, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

    Start = Callable[..., Actor]


@pytest.fixture
def control(tmp_path: Path) -> ControlDir:
    return ControlDir.of(tmp_path, "episode_000000")


def state(control: ControlDir) -> State:
    return state_of(
        control.markers(), alive=lambda number: Leases().alive(control.claim(number)), waiting=lambda _: False
    )


def refused(control: ControlDir, leases: Leases | None = None) -> str:
    with pytest.raises(NotAvailableError) as caught:
        take(control, leases)
    return caught.value.code


class TestTaking:
    def test_the_first_claim_is_generation_one_and_says_who_has_it(self, control: ControlDir) -> None:
        claim = take(control)
        owner = read_json(control.claim(1))
        assert owner is not None
        assert (claim.generation, owner["gen"], owner["pid"]) == (1, 1, os.getpid())
        assert state(control) is State.CLAIMED
        claim.close()

    def test_a_dead_owner_is_superseded_by_the_next_generation(self, control: ControlDir, actor: Start) -> None:
        actor("leave", control.path).rest()
        assert state(control) is State.PENDING
        claim = take(control)
        assert claim.generation == 2
        claim.close()

    def test_a_living_owner_is_not(self, control: ControlDir, actor: Start) -> None:
        owner = actor("hold", control.path)
        assert owner.heard() == "claimed 1"
        assert refused(control) == "claimed"
        owner.kill()
        take(control).close()

    def test_nor_is_a_stopped_one(self, control: ControlDir, actor: Start) -> None:
        """A worker that swaps, or a machine that slept, is late; two writers would be worse."""
        owner = actor("hold", control.path)
        owner.heard()
        owner.signal(signal.SIGSTOP)
        eventually(owner.stopped)
        assert state(control) is State.CLAIMED
        assert refused(control) == "claimed"

    @pytest.mark.parametrize(("marker", "code"), [("ready", "already_ready"), ("failed", "already_failed")])
    def test_what_is_final_is_not_claimed(self, control: ControlDir, marker: str, code: str) -> None:
        control.create()
        (control.path / marker).touch()
        assert refused(control) == code
        assert control.markers().generation == 0

    def test_an_owner_that_finished_while_we_looked_is_noticed(
        self, control: ControlDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`ready` appears, and its owner ends, between our look at the names and our look at its lock."""
        control.create()
        real = Leases.alive

        def finishes_now(leases: Leases, claim: Path, *, lapsed: bool = False) -> bool:
            (control.path / "ready").touch()
            return real(leases, claim, lapsed=lapsed)

        take(control).close()
        monkeypatch.setattr(Leases, "alive", finishes_now)
        assert refused(control) == "already_ready"
        assert control.markers().outcome == "released"

    def test_a_repair_that_began_while_we_looked_goes_first(
        self, control: ControlDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It marks the dataset, and sees no claim yet, after our look at the mark and before our claim is there."""
        control.create()
        real = Leases.alive

        def repair_begins(leases: Leases, claim: Path, *, lapsed: bool = False) -> bool:
            (control.path.parent / REPAIRING).touch()
            return real(leases, claim, lapsed=lapsed)

        take(control).close()
        monkeypatch.setattr(Leases, "alive", repair_begins)
        assert refused(control) == "being_repaired"
        assert control.markers().outcome == "released"

    def test_a_dataset_that_is_gone_is_not_brought_back(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            take(ControlDir.of(tmp_path / "gone", "episode_000000"))
        assert not (tmp_path / "gone").exists()

    def test_looking_at_a_claim_never_disturbs_it(self, control: ControlDir) -> None:
        claim = take(control)
        assert all(Leases().alive(control.claim(1)) for _ in range(100))
        claim.close()
        assert not Leases().alive(control.claim(1))


class TestHolding:
    def test_it_is_lost_when_a_newer_generation_exists(self, control: ControlDir) -> None:
        claim = take(control)
        claim.check()
        control.claim(2).touch()
        with pytest.raises(ClaimLostError, match="superseded"):
            claim.check()
        with pytest.raises(ClaimLostError):
            claim.end("failed", {})
        assert not control.outcome(1, "failed").exists()
        claim.close()

    def test_it_is_lost_when_the_dataset_was_renamed(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        claim = take(ControlDir.of(tmp_path / "old", "episode_000000"))
        (tmp_path / "old").rename(tmp_path / "new")
        with pytest.raises(ClaimLostError, match="renamed"):
            claim.check()
        with pytest.raises(ClaimLostError):
            claim.end("released", {})
        assert not (tmp_path / "old").exists()
        claim.close()

    def test_it_does_not_extend_to_an_upload_under_the_same_name(self, tmp_path: Path) -> None:
        """The same generation number there is another process' claim on other frames."""
        root = tmp_path / "dataset"
        root.mkdir()
        control = ControlDir.of(root, "episode_000000")
        ours = take(control)
        root.rename(tmp_path / "trash")
        root.mkdir()
        theirs = take(control)
        assert theirs.generation == ours.generation
        with pytest.raises(ClaimLostError):
            ours.check()
        with pytest.raises(ClaimLostError):
            ours.end("failed", {})
        theirs.check()
        assert control.markers().outcome is None
        ours.close()
        theirs.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestOtherMachines:
    """Their locks cannot be seen everywhere; their heartbeat (the claim's mtime) can."""

    @pytest.fixture
    def foreign(self, control: ControlDir) -> Path:
        take(control).close()  # nobody holds the lock: on this machine that would be a dead claim
        path = control.claim(1)
        owner = json.loads(path.read_text())
        path.write_text(json.dumps(owner | {"boot_id": "other", "machine": "other", "host": "other"}))
        return path

    def test_alive_while_the_heartbeat_moves_dead_a_lease_after_it_stopped(self, foreign: Path) -> None:
        clock = Clock()
        leases = Leases(lease_s=600, clock=clock)
        for beat in range(5):
            os.utime(foreign, (beat, beat))
            assert leases.alive(foreign)
            clock.now += 599
            assert leases.alive(foreign)
        clock.now += 1
        assert not leases.alive(foreign)
        os.utime(foreign)
        assert leases.alive(foreign)

    @pytest.mark.parametrize("ahead_s", [-10 * 365 * 86400, 10 * 365 * 86400])
    def test_its_clock_may_be_years_off(self, foreign: Path, ahead_s: int) -> None:
        clock = Clock()
        leases = Leases(lease_s=600, clock=clock)
        then = foreign.stat().st_mtime + ahead_s
        os.utime(foreign, (then, then))
        assert leases.alive(foreign)
        clock.now += 599
        assert leases.alive(foreign)
        clock.now += 2
        assert not leases.alive(foreign)

    def test_who_has_just_begun_to_look_waits_a_full_lease(self, foreign: Path, control: ControlDir) -> None:
        os.utime(foreign, (0, 0))  # silent since 1970
        assert Leases(clock=Clock()).alive(foreign)
        assert refused(control) == "claimed"

    @pytest.mark.usefixtures("foreign")
    def test_what_a_long_lived_observer_saw_lapse_can_be_taken(self, control: ControlDir) -> None:
        """A worker is told by the scan: it has not looked long enough to know by itself."""
        assert refused(control) == "claimed"
        claim = take(control, lapsed=1)
        assert claim.generation == 2
        claim.close()

    def test_a_lapse_of_an_earlier_generation_says_nothing(self, foreign: Path, control: ControlDir) -> None:
        foreign.rename(control.claim(2))
        with pytest.raises(NotAvailableError):
            take(control, lapsed=1)

    def test_a_lapse_does_not_overrule_a_lock_on_this_machine(self, control: ControlDir) -> None:
        claim = take(control)
        with pytest.raises(NotAvailableError):
            take(control, lapsed=1)
        claim.close()

    def test_an_earlier_boot_of_this_machine_is_over(self, control: ControlDir) -> None:
        take(control).close()
        owner = json.loads(control.claim(1).read_text())
        control.claim(1).write_text(json.dumps(owner | {"boot_id": "before"}))
        assert not Leases().alive(control.claim(1))

    def test_a_heartbeat_is_seen(self, foreign: Path, control: ControlDir) -> None:
        clock = Clock()
        leases = Leases(lease_s=600, clock=clock)
        os.utime(foreign, (0, 0))
        leases.alive(foreign)
        clock.now += 601
        fd = os.open(foreign, os.O_RDWR)
        Claim(control, 1, fd).heartbeat()
        os.close(fd)
        assert leases.alive(foreign)
