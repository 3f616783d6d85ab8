"""Many processes, few episodes: each generation has one creator, each episode at most one living owner."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import pytest

from episoded.daemon.control import ControlDir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

    Start = Callable[..., Actor]

PROCESSES = 8


def run_race(actor: Start, root: Path, *, episodes: int, tries: int, ending: str, seed: int = 0) -> list[str]:
    """What all the racers said."""
    racers = [actor("race", root, episodes, tries, seed + number, ending) for number in range(PROCESSES)]
    assert [racer.heard() for racer in racers] == ["ready"] * PROCESSES
    for racer in racers:
        racer.go()
    said: list[str] = []
    for racer in racers:
        while (line := racer.heard()) and line != "end":
            said.append(line)
    for racer in racers:
        racer.kill()
    return said


def winners(said: list[str]) -> collections.Counter[tuple[int, int]]:
    """(episode, generation) -> how many processes believe that they own it."""
    return collections.Counter((int(number), int(gen)) for word, number, gen in map(str.split, said) if word == "won")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dataset").mkdir()
    return tmp_path / "dataset"


def test_a_fresh_episode_is_claimed_once(actor: Start, root: Path) -> None:
    said = run_race(actor, root, episodes=60, tries=60, ending="keep")
    assert winners(said) == dict.fromkeys([(number, 1) for number in range(60)], 1)


def test_a_dead_claim_is_taken_over_once(actor: Start, root: Path) -> None:
    """Judge-then-unlink was won twice 66 times in such a race."""
    actor("leave", *(ControlDir.of(root, f"episode_{number:06d}").path for number in range(60))).rest()
    said = run_race(actor, root, episodes=60, tries=60, ending="keep")
    assert winners(said) == dict.fromkeys([(number, 2) for number in range(60)], 1)


@pytest.mark.parametrize("seed", [1, 100])
def test_claims_that_end_in_every_way_never_overlap(actor: Start, root: Path, seed: int) -> None:
    """Closed, given back, or their owner killed: the winner also takes a kernel lock that only one can have."""
    said = run_race(actor, root, episodes=4, tries=200, ending="any", seed=seed)
    assert [line for line in said if line.startswith("OVERLAP")] == []
    won = winners(said)
    assert set(won.values()) == {1}
    for number in range(4):
        control = ControlDir.of(root, f"episode_{number:06d}")
        generations = [gen for gen in range(1, control.markers().generation + 1) if control.claim(gen).exists()]
        assert generations == list(range(1, len(generations) + 1)), "a generation was skipped"
        assert {gen for episode, gen in won if episode == number} <= set(generations)
    assert len(won) > 40
