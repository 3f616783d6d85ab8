"""The state of an episode is what the names in its control directory say, and who is alive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episoded.daemon.state import State, read_names, state_of

CLAIMED = ("pending", "g000001.claim", "g000001")


def state(*names: str, alive: bool = False, waiting: bool = False) -> State:
    return state_of(read_names(names), alive=lambda _: alive, waiting=lambda _: waiting)


@pytest.mark.parametrize(
    ("names", "alive", "waiting", "expected"),
    [
        ((), False, False, State.ARRIVING),
        (("notes.txt", ".t-0-1-2-3"), False, False, State.ARRIVING),
        (("pending",), False, False, State.PENDING),
        (CLAIMED, True, False, State.CLAIMED),
        (CLAIMED, False, False, State.PENDING),  # its owner died
        (("g000001.claim",), False, False, State.PENDING),  # claimed by hand, never marked
        ((*CLAIMED, "g000001.failed"), False, True, State.WAITING),
        ((*CLAIMED, "g000001.failed"), False, False, State.PENDING),
        ((*CLAIMED, "g000001.released"), True, True, State.PENDING),
        ((*CLAIMED, "g000001.failed", "g000002.claim"), True, True, State.CLAIMED),
        ((*CLAIMED, "g000001.failed", "failed"), True, True, State.FAILED),
        ((*CLAIMED, "g000001.failed", "failed.000001"), False, True, State.PENDING),  # retried: waits for nothing
        ((*CLAIMED, "encode.done", "ready"), True, False, State.READY),  # its owner is tidying up
        ((*CLAIMED, "encode.done", "ready", "cleaned", "published.hub"), False, False, State.READY),
        ((*CLAIMED, "encode.done", "ready", "cleaned", "published.hub", "published"), False, False, State.PUBLISHED),
        ((*CLAIMED, "ready", "failed"), False, False, State.READY),  # nothing un-readies
    ],
)
def test_the_table(names: tuple[str, ...], alive: bool, waiting: bool, expected: State) -> None:
    assert state(*names, alive=alive, waiting=waiting) is expected


def test_the_highest_claim_counts_and_only_its_own_outcome() -> None:
    markers = read_names(["g000002.claim", "g000010.claim", "g000002.failed", "g000009.released"])
    assert (markers.generation, markers.outcome) == (10, None)


def test_stages_done_are_listed_but_not_those_out_of_force() -> None:
    markers = read_names(["encode.done", "metadata.done.g000003", "encode", "g000001.claim"])
    assert markers.stages_done == {"encode"}


def test_attempts_count_anew_after_the_last_retry() -> None:
    assert read_names(["failed.000002", "ready.000005", "g000006.claim"]).retried_at == 5


NAMES = st.sampled_from(
    [
        *("pending", "ready", "cleaned", "failed", "published", "encode.done", "failed.000001", "g000001", ".t-x"),
        *(f"g00000{n}.{kind}" for n, kind in itertools.product((1, 2, 3), ("claim", "failed", "released"))),
    ]
)


@given(st.sets(NAMES), st.booleans(), st.booleans())
def test_the_order_of_a_listing_means_nothing(names: set[str], alive: bool, waiting: bool) -> None:
    """And nothing but names and life decides: any listing has a state."""
    forward = state(*sorted(names), alive=alive, waiting=waiting)
    assert forward is state(*sorted(names, reverse=True), alive=alive, waiting=waiting)


@given(st.sets(NAMES))
def test_a_final_episode_is_never_offered_for_work(names: set[str]) -> None:
    if read_names(names).final:
        assert state(*names) in (State.READY, State.PUBLISHED, State.FAILED)
