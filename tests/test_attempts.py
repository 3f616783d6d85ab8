"""What a failure costs, and when the episode is tried again."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from episoded.daemon.attempts import AttemptPolicy, is_waiting, record_failure
from episoded.daemon.claim import take
from episoded.daemon.control import ControlDir, read_json
from episoded.daemon.errors import DiskFullError, InputError, RetryableError

if TYPE_CHECKING:
    from pathlib import Path

POLICY = AttemptPolicy(limit=3, delay_s=30.0)
NOW = 1_700_000_000.0
BUSY = RetryableError("io_error", "the disk did not answer", "look at it")
FULL = DiskFullError("disk_full", "no space left", "free some")
WRONG = InputError("png_truncated", "frame_000002.png ends early", "record again")


@pytest.fixture
def control(tmp_path: Path) -> ControlDir:
    return ControlDir.of(tmp_path, "episode_000000")


def fail(control: ControlDir, error: BaseException, now: float = NOW) -> bool:
    """One generation that ends with this error; whether that was final."""
    claim = take(control)
    final = record_failure(control, claim.generation, error, "encode", POLICY, lambda: now)
    claim.close()
    return final


def pause(control: ControlDir) -> float:
    record = control.failure(control.markers())
    assert record is not None
    return float(record["not_before"]) - NOW


def test_wrong_data_is_final_at_once(control: ControlDir) -> None:
    assert fail(control, WRONG)
    record = read_json(control.path / "failed")
    assert record is not None
    assert (record["code"], record["message"], record["hint"], record["stage"]) == (
        *("png_truncated", "frame_000002.png ends early", "record again"),
        "encode",
    )


def test_three_attempts_with_growing_pauses_then_failed(control: ControlDir) -> None:
    assert not fail(control, BUSY)
    assert pause(control) == 30.0
    assert not fail(control, BUSY)
    assert pause(control) == 120.0
    assert fail(control, BUSY)
    assert control.markers().failed


def test_the_pause_is_an_hour_at_most() -> None:
    assert [AttemptPolicy(9).pause_s(failures) for failures in (1, 2, 3, 4, 5, 8)] == [30, 120, 480, 1920, 3600, 3600]


def test_a_full_disk_never_uses_up_the_attempts(control: ControlDir) -> None:
    assert not any(fail(control, FULL) for _ in range(10))
    assert pause(control) == 30.0
    assert not fail(control, BUSY)
    assert not fail(control, BUSY)
    assert fail(control, BUSY)


def test_nor_does_it_take_the_last_one(control: ControlDir) -> None:
    assert [fail(control, error) for error in (BUSY, BUSY, FULL, FULL)] == [False] * 4
    assert fail(control, BUSY)


def test_attempts_count_anew_after_a_retry(control: ControlDir) -> None:
    assert [fail(control, BUSY) for _ in range(3)] == [False, False, True]
    (control.path / "failed").rename(control.path / "failed.000003")
    assert [fail(control, BUSY) for _ in range(3)] == [False, False, True]


def test_a_killed_owner_left_no_word_and_costs_nothing(control: ControlDir) -> None:
    for _ in range(5):
        take(control).close()
    assert [fail(control, BUSY) for _ in range(3)] == [False, False, True]


def test_the_first_word_on_a_generation_stands(control: ControlDir) -> None:
    """Supervisor and worker may both report the same end."""
    claim = take(control)
    record_failure(control, 1, BUSY, "encode", POLICY)
    record_failure(control, 1, FULL, None, POLICY)
    record = read_json(control.outcome(1, "failed"))
    assert record is not None
    assert record["code"] == "io_error"
    claim.close()


@pytest.mark.parametrize(
    ("error", "code", "final"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"), "disk_full", False),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/x"), "io_error", False),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x"), "no_permission", True),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "/x"), "read_only", True),
        (MemoryError(), "out_of_memory", False),
        (ZeroDivisionError("division by zero"), "internal", False),
    ],
)
def test_any_exception_has_a_code_a_remedy_and_a_verdict(
    control: ControlDir, error: BaseException, code: str, final: bool
) -> None:
    assert fail(control, error) is final
    record = control.failure(control.markers())
    assert record is not None
    assert record["code"] == code
    assert record["hint"]
    assert type(error).__name__ in record["traceback"]


class TestWaiting:
    def test_until_not_before(self, control: ControlDir) -> None:
        fail(control, BUSY)
        assert is_waiting(control, 1, lambda: NOW)
        assert is_waiting(control, 1, lambda: NOW + 29.9)
        assert not is_waiting(control, 1, lambda: NOW + 30)

    @pytest.mark.parametrize("back_s", [60, 3600, 10 * 365 * 86400])
    def test_a_clock_that_was_set_back_does_not_make_it_wait_longer(self, control: ControlDir, back_s: float) -> None:
        fail(control, BUSY)
        assert not is_waiting(control, 1, lambda: NOW - back_s)

    def test_a_clock_that_was_set_forward_ends_the_wait(self, control: ControlDir) -> None:
        fail(control, BUSY)
        assert not is_waiting(control, 1, lambda: NOW + 10 * 365 * 86400)

    def test_without_a_record_there_is_nothing_to_wait_for(self, control: ControlDir) -> None:
        assert not is_waiting(control, 1, lambda: NOW)
