"""The state of an episode: a pure function of the names in its control directory and of who is alive.

It is never stored. Anyone can derive it with `ls`.

    pending               submitted: by the uploader, or by the daemon once the upload is complete
    g000001.claim         a generation: one process' right to work
    g000001.failed        how that generation ended: an error ...
    g000001.released      ... or given back by a drain
    encode.done           a stage checkpoint
    ready, cleaned        every output verified; inputs removed as the pipeline says
    failed                permanent error, or no attempts left
    failed.000002         a `failed` that was retried: attempts count from generation 3 on
    manifest.<dest>       what of it goes to a destination: sizes and digests, fixed when the first byte moves
    published.<dest>      the receipt of a destination: read back from there; `published`: all of them are there
    found                 its result was at its destinations already: nothing was made here
    blocked.<dest>        why it does not get there until somebody mends it
    published.<dest>.000001, blocked.<dest>.000001   those that are no longer in force
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GENERATION: Final = re.compile(r"g(\d{6})\.(claim|failed|released)")
_STAGE_DONE: Final = re.compile(r"([a-z][a-z0-9_]*)\.done")
_RETRIED: Final = re.compile(r"(?:failed|ready)\.(\d{6})")
#: A destination's name; no dots, which end in it what is no longer in force.
DESTINATION: Final = re.compile(r"[a-z][a-z0-9_-]*")
_AT_DESTINATION: Final = re.compile(rf"(published|blocked)\.({DESTINATION.pattern})")


class State(StrEnum):
    """Where an episode stands; in the order of its life."""

    ARRIVING = "arriving"
    PENDING = "pending"
    CLAIMED = "claimed"
    WAITING = "waiting"
    READY = "ready"
    PUBLISHED = "published"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Markers:
    """What the names in a control directory say.

    `generation` is the highest claim (0: never claimed), `outcome` how it ended ("failed", "released", or None while
    it runs or when its owner died). `retried_at` is the generation after which attempts count anew. `receipts` and
    `blocked` are the destinations that have it, and those that cannot get it; `found`: they had it before it was made.
    """

    pending: bool = False
    generation: int = 0
    outcome: str | None = None
    ready: bool = False
    cleaned: bool = False
    failed: bool = False
    published: bool = False
    found: bool = False
    stages_done: frozenset[str] = frozenset()
    retried_at: int = 0
    receipts: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()

    @property
    def final(self) -> bool:
        """True when there is nothing left to process."""
        return self.ready or self.failed


def read_names(names: Iterable[str]) -> Markers:
    """Sort the names of a control directory; unknown names are none of our business."""
    generation, stages, retried, plain = 0, set(), 0, set()
    at_destination: dict[str, set[str]] = {"published": set(), "blocked": set()}
    outcomes: dict[int, str] = {}
    for name in names:
        if match := GENERATION.fullmatch(name):
            number, kind = int(match[1]), match[2]
            if kind == "claim":
                generation = max(generation, number)
            elif outcomes.get(number) != "failed":  # the graver word stands, in whatever order they are listed
                outcomes[number] = kind
        elif match := _STAGE_DONE.fullmatch(name):
            stages.add(match[1])
        elif match := _RETRIED.fullmatch(name):
            retried = max(retried, int(match[1]))
        elif match := _AT_DESTINATION.fullmatch(name):
            at_destination[match[1]].add(match[2])
        else:
            plain.add(name)
    return Markers(
        pending="pending" in plain,
        generation=generation,
        outcome=outcomes.get(generation),
        ready="ready" in plain,
        cleaned="cleaned" in plain,
        failed="failed" in plain,
        published="published" in plain,
        found="found" in plain,
        stages_done=frozenset(stages),
        retried_at=retried,
        receipts=frozenset(at_destination["published"]),
        blocked=frozenset(at_destination["blocked"]),
    )


def state_of(markers: Markers, *, alive: Callable[[int], bool], waiting: Callable[[int], bool]) -> State:
    """The table of the design.

    `alive(g)`: is the owner of generation g alive; `waiting(g)`: is the time before which a failed generation must not
    be tried again still ahead. Both cost a system call or two, so each is asked only where the answer matters.
    """
    generation = markers.generation
    if markers.ready:
        return State.PUBLISHED if markers.published else State.READY
    if markers.failed:
        return State.FAILED
    if generation and markers.outcome is None and alive(generation):
        return State.CLAIMED
    if markers.outcome == "failed" and generation > markers.retried_at and waiting(generation):
        return State.WAITING
    if markers.pending or generation:
        return State.PENDING
    return State.ARRIVING
