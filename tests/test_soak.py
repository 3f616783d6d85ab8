"""The soak as a test: `pytest -m soak`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import TESTS


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills_of_daemon_and_workers_lose_no_frame(seed: int) -> None:
    command = [sys.executable, str(TESTS.parent / "benchmarks" / "soak.py"), "--rounds", "40", "--seed", str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout
