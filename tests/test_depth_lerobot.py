"""Depth inside a LeRobot dataset, judged by LeRobot itself: it opens the dataset, and its recorder records on.

`make test-lerobot` builds the environment that it needs, once.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import lerobot_judge
from episoded.processors.depth import ladder
from known_depth import KnownDepth
from lerobot_data import finish, recording

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lerobot


def test_lerobot_opens_a_dataset_with_depth_and_records_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))
    source = recording(tmp_path / "source", frames=12, size=(96, 128))
    root = tmp_path / "dataset"
    shutil.copytree(source, root)
    depth = {"segment_frames": 5, "export": ["png16", "lerobot"]}
    finish(root, stages=["encode", "metadata", "depth"], depth=depth)
    made = {path.suffix for path in (root / "depth").rglob("*") if path.is_file()}
    assert made == {".mkv", ".json", ".webm", ".png", ".m4v"}
    common = {"root": str(root), "source": str(source), "name": "depth"}
    opened, resumed = lerobot_judge.ask("v21", [{"do": "open", **common}, {"do": "resume", **common}])
    assert opened["ok"], opened.get("trace")
    assert (opened["episodes"], len(opened["cameras"])) == (2, 2)
    assert resumed["ok"], resumed.get("trace")
