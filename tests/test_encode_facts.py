"""What is learnt of a camera's frames while they are encoded."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camera_episode import (
    DATA,
    KEY,
    Recorded,
    needs_data,
    pngs,
    recorded,  # noqa: F401 - a fixture
    run,
    scene,
)
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.lerobot.picture_statistics import sample_indices


def lerobots_statistics(paths: tuple[Path, ...]) -> dict[str, Any]:
    """`compute_episode_stats` of lerobot 0.3.3 in its own way: a stack of thinned pictures, reduced by numpy."""
    stack = []
    for index in sample_indices(len(paths)):
        picture = np.asarray(Image.open(paths[index]).convert("RGB")).transpose(2, 0, 1)
        _, height, width = picture.shape
        step = 1 if max(width, height) < 300 else int(width / 150) if width > height else int(height / 150)
        stack.append(picture[:, ::step, ::step])
    pictures = np.stack(stack)
    reduced = {
        name: getattr(np, name)(pictures, axis=(0, 2, 3), keepdims=True) for name in ("min", "max", "mean", "std")
    }
    return {**{name: np.squeeze(value / 255.0, axis=0) for name, value in reduced.items()}, "count": len(stack)}


@needs_data
@pytest.mark.parametrize(
    ("folder", "threads"),
    [
        ("g1_v21/images/observation.images.cam_high/episode_000000", 1),
        ("franka_v21_interrupted/images/observation.images.wrist/episode_000001", 2),
    ],
)
def test_image_statistics_are_lerobots(folder: str, threads: int, tmp_path: Path) -> None:
    paths = tuple(sorted((DATA / "pending" / folder).glob("*.png"))) * 4  # more than are sampled
    camera = Camera(KEY, FrameSource(DATA, paths), PurePosixPath("a/b/c.mp4"))
    artifact = run(Episode(tmp_path, tmp_path, "0", 0, len(paths), Fraction(30), (camera,)), threads)
    expected, found = lerobots_statistics(paths), artifact.facts["image_stats"]
    assert found["count"] == [expected["count"]]
    assert expected["count"] < len(paths)
    for name in ("min", "max", "mean", "std"):
        assert np.shape(found[name]) == (3, 1, 1)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [(299, 200), (300, 200), (200, 301), (64, 48)])
def test_image_statistics_thin_out_large_frames_only(size: tuple[int, int], recorded: Recorded) -> None:
    episode = recorded(3, size=size)
    expected, found = lerobots_statistics(pngs(episode)), run(episode, odd_dimensions="yuv444p").facts["image_stats"]
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-12)


def test_a_camera_that_shows_one_picture_is_reported_and_encoded(recorded: Recorded) -> None:
    episode = recorded(9)
    for path in pngs(episode)[1:]:
        shutil.copyfile(pngs(episode)[0], path)
    facts = run(episode).facts
    assert (facts["constant"], facts["duplicates"], facts["frames"]) == (True, 8, 9)


def test_stale_frames_are_counted_and_left_alone(recorded: Recorded) -> None:
    episode = recorded(12)
    camera = episode.cameras[0]
    source = FrameSource(pngs(episode)[0].parent, pngs(episode)[:9], pngs(episode)[9:])
    shorter = replace(episode, length=9, cameras=(replace(camera, frames=source),))
    facts = run(shorter).facts
    assert (facts["frames"], facts["stale_frames"]) == (9, 3)
    assert all(path.exists() for path in pngs(episode))


def test_a_wrong_shape_in_the_metadata_is_reported_and_the_frames_are_trusted(recorded: Recorded) -> None:
    episode = recorded()
    assert run(episode).facts["declared_shape"] is None
    lying = replace(episode, cameras=(replace(episode.cameras[0], shape=(480, 640)),))
    facts = run(lying).facts
    assert (facts["declared_shape"], facts["width"], facts["height"]) == ([480, 640], 96, 64)


def test_kinds_of_8_bit_png_may_mix_and_alpha_is_dropped(recorded: Recorded) -> None:
    episode = recorded()
    scene(3).convert("RGBA").save(pngs(episode)[3])
    scene(4).convert("P").save(pngs(episode)[4])
    scene(5).convert("L").save(pngs(episode)[5])
    facts = run(episode).facts
    assert facts["alpha_dropped"]
    assert facts["psnr_db"]["min"] > 30
