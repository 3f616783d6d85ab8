"""How a failed generation is recorded, and whether and when the episode is tried again."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import fsio
from .control import SCHEMA, ControlDir, read_json, to_json
from .errors import EpisodedError, RetryableError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

BACKOFF_CAP_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """How often and after what pause a retryable failure is tried again: `delay_s` x 4^n, at most an hour."""

    limit: int = 3
    delay_s: float = 30.0

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure (1 = first)."""
        return float(min(self.delay_s * 4.0 ** (failures - 1), BACKOFF_CAP_S))


def as_episoded_error(error: BaseException) -> EpisodedError:
    """Any exception as a member of the family; unexpected ones are tried again, the machine may be at fault."""
    match error:
        case EpisodedError():
            return error
        case OSError():
            return from_os_error(error)
        case MemoryError():
            return RetryableError("out_of_memory", "the machine has no memory left", "lower [workers] cpu")
        case _:
            return RetryableError(
                "internal", f"{type(error).__name__}: {error}", "please report it with the traceback of `episoded show`"
            )


def record_failure(
    control: ControlDir,
    generation: int,
    error: BaseException,
    stage: str | None,
    policy: AttemptPolicy,
    now: Callable[[], float] = time.time,
) -> bool:
    """Record how `generation` failed; True when that was final.

    `not_before` is the one place where a wall clock decides: it has to outlive the process and the boot.
    """
    known = as_episoded_error(error)
    failures = _counted_failures(control) + 1
    at = now()
    final = not known.retryable or (known.counted and failures >= policy.limit)
    record = {
        "schema": SCHEMA,
        "gen": generation,
        "stage": stage,
        "code": known.code,
        "message": known.message,
        "hint": known.hint,
        "retryable": known.retryable,
        "counted": known.counted,
        "attempt": failures,
        "not_before": at + policy.pause_s(failures if known.counted else 1),
        "at": at,
        "traceback": None if isinstance(error, EpisodedError) else "".join(traceback.format_exception(error)),
    }
    # The final marker first: killed between the two, the episode is failed, not tried a fourth time.
    if final:
        _publish_once(control, "failed", record)
    _publish_once(control, f"g{generation:06d}.failed", record)
    return final


def is_waiting(control: ControlDir, generation: int, now: Callable[[], float] = time.time) -> bool:
    """Whether the time before which a failed generation must not be tried again is still ahead.

    A failure that lies in the future is a clock that was set back since: it does not count.
    """
    record = read_json(control.outcome(generation, "failed")) or {}
    return float(record.get("at", 0.0)) <= now() < float(record.get("not_before", 0.0))


def _counted_failures(control: ControlDir) -> int:
    markers = control.markers()
    records: list[dict[str, Any] | None] = [
        read_json(control.outcome(generation, "failed"))
        for generation in range(markers.retried_at + 1, markers.generation + 1)
    ]
    return sum(1 for record in records if record and record.get("counted"))


def _publish_once(control: ControlDir, name: str, record: dict[str, Any]) -> None:
    try:
        fsio.publish(control.path / name, to_json(record))
    except FileExistsError:
        return  # the supervisor and the worker may both report the same end; the first word stands
