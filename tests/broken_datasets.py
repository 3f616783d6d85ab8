"""Whole datasets to break, and to be repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from episoded.daemon import repair
from episoded.processors.lerobot.inspect import inspect_dataset
from lerobot_broken import V21, V30
from lerobot_data import finish, recording
from lerobot_v30 import as_v30

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.processors.lerobot.repair import Plan


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    v21 = finish(recording(folder / "v21", episodes=3, frames=6))
    return {V21: v21, V30: as_v30(v21, folder / "v30")}


def mend(root: Path, *, deep: bool = False) -> list[Plan]:
    plans: list[Plan] = []
    repair.repair(root, deep=deep, planned=plans.append, progress=lambda *_: None)
    return plans


def codes(root: Path, **how: Any) -> set[str]:
    return {finding.code for finding in inspect_dataset(root, threads=1, **how).findings}


def lost(root: Path, before: dict[str, bytes]) -> set[str]:
    """Files of `recordings.contents` whose bytes are neither in the dataset nor kept."""
    now = {path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name for name, data in before.items() if data not in now}
