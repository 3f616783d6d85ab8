"""SIGKILL at every point between two durable steps, then resume: nothing is lost, nothing is done by halves.

Each point is a process of its own that kills itself there. Right after the kill the laws of the protocol must hold;
after the resume the episode must be ready, tidy, and every frame in its video.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from recordings import tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor
    from recordings import Version

    Start = Callable[..., Actor]

DRIVERS = 2


@pytest.mark.parametrize(
    ("version", "least"), [("v2.1", 70), ("dorobot-images", 75), ("finalized", 70), ("killed", 80)]
)
def test_a_kill_at_any_point_loses_nothing(tmp_path: Path, actor: Start, version: Version, least: int) -> None:
    """`dorobot-images` also has its table edited in place; of v3.0, `killed` its table rescued, its list written."""
    source = tiny(tmp_path / "source", version=version)
    drivers = [actor("crash", source, tmp_path, first, DRIVERS) for first in range(1, DRIVERS + 1)]
    said = [line.partition(" ") for driver in drivers for line in driver.rest()]
    assert {number: verdict for number, _, verdict in said if verdict != "ok"} == {}
    assert sorted(int(number) for number, _, _ in said) == list(range(1, len(said) + 1)), "a point was not tried"
    assert len(said) >= least
    shutil.rmtree(tmp_path)
