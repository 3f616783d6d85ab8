"""The simulated recording: it must be what LeRobot's recorder leaves, or every test built on it proves nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from episoded.processors.media import png
from episoded.processors.simulation import record, write_png
from episoded.processors.simulation_scene import Scene
from lerobot_data import LEROBOT, TOP, WRIST, frame, info_of, lines_of, recording, table

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["v2.1", "v2.0", "dorobot", "dorobot-images"]


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("version", KINDS)
def test_every_kind_arrives_whole_and_loads(tmp_path: Path, version: str) -> None:
    root = recording(tmp_path / "dataset", version=version)
    assert LEROBOT.listing(root).refusal is None
    for episode in ("episode_000000", "episode_000001"):
        assert LEROBOT.upload(root, episode).missing == ()
        assert LEROBOT.load(root, episode, root).length == 5


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = recording(tmp_path / "one"), recording(tmp_path / "other")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 2 * (2 * 5 + 1) + 4
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in files)
    different = recording(tmp_path / "different", seed=1)
    assert frame(one, 0).read_bytes() != frame(different, 0).read_bytes()


def test_a_recording_is_continued_where_it_ended(tmp_path: Path) -> None:
    root, at_once = tmp_path / "dataset", recording(tmp_path / "at once")
    for number in range(2):
        assert record(root, episodes=1, frames=5, size=(48, 64)) == [f"episode_00000{number}"]
    names = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert all((root / name).read_bytes() == (at_once / name).read_bytes() for name in names)
    assert pq.read_table(table(root, 1)).column("index").to_pylist() == [5, 6, 7, 8, 9]


def test_metadata_is_as_the_recorder_leaves_it(tmp_path: Path) -> None:
    root = recording(tmp_path / "dataset", fps=20)
    info = info_of(root)
    assert (info["total_episodes"], info["total_frames"], info["total_videos"], info["total_chunks"]) == (2, 10, 4, 1)
    assert info["splits"] == {"train": "0:2"}
    assert info["features"][TOP] == {
        "dtype": "video",
        "shape": [48, 64, 3],
        "names": ["height", "width", "channels"],
    }
    assert lines_of(root / "meta/tasks.jsonl") == [{"task_index": 0, "task": "Fetch the red ball."}]
    assert [line["length"] for line in lines_of(root / "meta/episodes.jsonl")] == [5, 5]
    assert [line["episode_index"] for line in lines_of(root / "meta/episodes_stats.jsonl")] == [0, 1]


def test_the_table_is_as_the_datasets_library_writes_it(tmp_path: Path) -> None:
    schema = pq.read_schema(table(recording(tmp_path / "dataset")))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["action"] == {"feature": {"dtype": "float32", "_type": "Value"}, "length": 3, "_type": "Sequence"}
    assert features["timestamp"] == {"dtype": "float32", "_type": "Value"}
    assert list(features) == schema.names
    assert {TOP, WRIST}.isdisjoint(schema.names)


def test_statistics_are_those_of_the_pixels(tmp_path: Path) -> None:
    root = recording(tmp_path / "dataset", episodes=1)
    stats = lines_of(root / "meta/episodes_stats.jsonl")[0]["stats"][TOP]
    frames = np.stack([pixels(frame(root, number)) for number in range(5)]) / 255
    np.testing.assert_allclose(np.ravel(stats["mean"]), frames.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(stats["std"]), frames.std(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(np.ravel(stats["max"]), frames.max(axis=(0, 1, 2)))


def test_frames_are_strict_pngs_that_others_read_alike(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    write_png(tmp_path / "frame.png", picture)
    header = png.read(tmp_path / "frame.png").header
    assert (header.width, header.height, header.bit_depth) == (17, 31, 8)
    np.testing.assert_array_equal(pixels(tmp_path / "frame.png"), picture)


def test_both_cameras_see_something_move(tmp_path: Path) -> None:
    steps = list(Scene(("top", "wrist"), (48, 64)).episode(0, 20, 10))
    for camera in ("top", "wrist"):
        change = np.abs(steps[0].pictures[camera].astype(int) - steps[10].pictures[camera])
        assert (change > 40).mean() > 0.02
    assert not np.array_equal(steps[0].state, steps[10].state)
    np.testing.assert_array_equal(steps[3].action, steps[4].state)


def test_neighbouring_frames_differ_by_noise_at_least(tmp_path: Path) -> None:
    """Identical frames would encode to nothing, and be reported as duplicates."""
    steps = list(Scene(("top",), (48, 64)).episode(0, 3, 1000))
    assert not np.array_equal(steps[0].pictures["top"], steps[1].pictures["top"])
