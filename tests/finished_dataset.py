"""A finished dataset for tests of the commands that look at one, or mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commandline import configure
from lerobot_data import finish, recording
from recordings import copy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, finished. Not to be changed."""
    return finish(recording(tmp_path_factory.mktemp("finished") / "ds", episodes=3, frames=6))


@pytest.fixture
def root(tmp_path: Path, finished: Path) -> Path:
    """To be changed."""
    return copy(finished, tmp_path / "ds")


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """No drop folders, no guard."""
    return configure(tmp_path)
