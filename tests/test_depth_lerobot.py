"""Depth inside a LeRobot dataset, judged by LeRobot itself: it opens the dataset, and its recorder records on.

`make test-lerobot` builds the environments that it needs, once; but not that of LeRobot 0.6, which reads depth.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lerobot_judge
from episoded.daemon.convert.conversion import convert
from episoded.processors.depth import ladder
from episoded.processors.depth.reader import read_depth
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


def test_lerobot_reads_the_depth_of_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not lerobot_judge.is_built("v06"):
        pytest.skip("needs LeRobot 0.6.1 (6 GB, Python 3.12): python tests/lerobot_judge.py build v06")
    root, depth = finished(tmp_path, monkeypatch), tmp_path / "fold_v30"
    assert convert(root, depth, "v3.0").wrong == []
    [judged] = lerobot_judge.ask("v06", [{"do": "depth", "root": str(depth), "work": str(tmp_path)}])
    assert judged["ok"], judged.get("trace")
    keys = [key for key in judged["cameras"] if key.endswith("_depth")]
    assert (judged["depth_cameras"], len(keys), judged["episodes"]) == (keys, 2, [0] * 12 + [1] * 12)
    for key in keys:
        found = np.load(tmp_path / f"{key}.npy")
        folder = root / "depth/chunk-000" / key.removesuffix("_depth")
        ours = np.concatenate([np.stack(list(read_depth(path))) for path in sorted(folder.glob("*.mkv"))])
        assert (found.shape, found.dtype) == ((24, 1, 96, 128), np.float32)
        assert judged["batch"][key] == ["torch.float32", 4, 1, 96, 128]
        assert judged["stats"][key] == pytest.approx(found.astype(np.float64).mean(), rel=1e-6)
        known, seen = ours[ours > 0].astype(np.float64), found[:, 0][ours > 0]
        half_a_step = (known / 1000 + 3.5) * 0.33 / 2
        assert (np.abs(seen - np.minimum(known, 10_000)) <= half_a_step + 0.5).all(), "read in whole millimetres"
        assert np.allclose(found[:, 0][ours == 0], 10), "no depth is code 0, the nearest distance"


def test_earlier_releases_read_a_conversion_without_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, without = finished(tmp_path, monkeypatch), tmp_path / "fold_v30"
    assert convert(root, without, "v3.0", depth=False).wrong == []
    job = {"root": str(without), "source": str(tmp_path / "source")}
    opened, resumed = lerobot_judge.ask("v30", [{"do": "open", **job}, {"do": "resume", **job}])
    assert opened["ok"], opened.get("trace")
    assert (opened["episodes"], len(opened["cameras"])) == (2, 2)
    assert resumed["ok"], resumed.get("trace")


def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two episodes with metric depth and LeRobot's depth videos; what was recorded is beside them as `source`."""
    monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(KnownDepth(), case.frames))
    source = recording(tmp_path / "source", frames=12, size=(96, 128))
    root = shutil.copytree(source, tmp_path / "fold")
    depth = {"segment_frames": 5, "preview": False, "export": ["lerobot"]}
    return finish(root, stages=["encode", "metadata", "depth"], depth=depth)
