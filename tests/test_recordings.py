"""The tests' own judge must find what it is there to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from episoded.daemon import checkpoint
from episoded.daemon.chain import work_on
from recordings import EPISODE, Originals, broken_laws, leftovers, tiny, work

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = "observation.images.top"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny(tmp_path / "dataset", frames=20)


def frame(root: Path, number: int) -> Path:
    return root / "images" / CAMERA / EPISODE / f"frame_{number:06d}.png"


@pytest.mark.parametrize("other", [0, 4, 15, 19])
def test_a_frame_that_another_took_the_place_of(root: Path, other: int) -> None:
    originals = Originals.of(root)
    frame(root, 10).write_bytes(frame(root, other).read_bytes())
    assert work_on(work(root)) == "ready"
    ((what, where, _),) = [line.split(": ") for line in originals.missing_from(root)]
    assert (what, where) == (f"{EPISODE} {CAMERA}", "frame 10")


def test_frames_that_are_shifted_by_one(root: Path) -> None:
    originals = Originals.of(root)
    for number in range(19):
        frame(root, number).write_bytes(frame(root, number + 1).read_bytes())
    assert work_on(work(root)) == "ready"
    assert f"{EPISODE} {CAMERA}: frame 0: all frames are shifted by 1" in originals.missing_from(root)


def test_a_video_that_is_gone_or_of_another_episode(root: Path) -> None:
    originals = Originals.of(root)
    work_on(work(root))
    videos = sorted(root.glob("videos/**/*.mp4"))
    videos[0].unlink()
    assert originals.missing_from(root) == [f"{EPISODE} {CAMERA}: no video"]
    videos[0].hardlink_to(videos[1])
    assert len(originals.missing_from(root)) > 10


def test_a_checkpoint_without_its_output(root: Path) -> None:
    task = work(root)
    work_on(task)
    assert broken_laws(root) + leftovers(root) == []
    (video := next(root.glob("videos/**/*.mp4"))).write_bytes(b"short")
    assert len(broken_laws(root)) == 2  # the unit's and the stage's
    assert str(video.relative_to(root)) in broken_laws(root)[0]


def test_frames_that_went_before_ready(root: Path) -> None:
    task = work(root)
    task.control.create()
    frame(root, 3).unlink()
    assert "went before ready" in broken_laws(root)[0]


def test_torn_json_and_temps(root: Path) -> None:
    task = work(root)
    work_on(task)
    (task.control.path / ".t-left").touch()
    assert "left over" in leftovers(root)[0]
    checkpoint.stage_path(task.control, "encode").write_bytes(b'{"gen": 1')
    assert broken_laws(root)[0].startswith("torn")
