"""Simulated recordings of LeRobot v3.0 whose encoding never ran, crashed, or was killed, and what became of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.processors import formats
from episoded.processors.errors import EpisodedError
from episoded.processors.simulation_v3 import record
from lerobot_data import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.processors.simulation_v3 import End

V3 = formats.by_name("lerobot-v3")
ENDS: tuple[End, ...] = ("finalized", "crashed", "killed")
DATA, LISTED = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"


def recording(root: Path, end: End = "finalized", **settings: Any) -> Path:
    """Two episodes of five frames of two small cameras, unless told otherwise."""
    record(root, **{"episodes": 2, "frames": 5, "size": (48, 64), "end": end, **settings})
    return root


def finish(root: Path, output: Path | None = None, **pipeline: Any) -> Path:
    """Run the real chain over every episode that is not ready; all must become so."""
    output = output or root
    output.mkdir(exist_ok=True)
    settings = Pipeline.model_validate({"name": "test", **pipeline})
    for episode in V3.listing(root).episodes:
        if not (output / ".episoded" / episode / "ready").exists():
            assert work_on(Work(root, output, episode, V3.name, settings)) == "ready"
    return output


PLAIN = Pipeline.model_validate({"name": "test"})


def frame(root: Path, number: int, key: str = TOP, episode: int = 0) -> Path:
    return root / f"images/{key}/episode-{episode:06d}/frame-{number:06d}.png"


def listed(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / LISTED).to_pylist()
    return rows


def quality(root: Path, episode: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / f".episoded/episode_{episode:06d}/quality.json").read_bytes())
    return value


def refused(root: Path, episode: str = "episode_000000") -> EpisodedError:
    with pytest.raises(EpisodedError) as caught:
        V3.load(root, episode, root)
    return caught.value
