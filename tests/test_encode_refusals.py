"""What must not become a video fails its episode, with the file and frame named; nothing is left behind."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from camera_episode import (
    KEY,
    Recorded,
    context,
    failure,
    pngs,
    recorded,  # noqa: F401 - a fixture
    run,
    run_in,
    scene,
)
from episoded.processors.encode.fidelity import LARGEST_SHIFT, psnr, reference, shift
from episoded.processors.encode.verify import Expectation, verify
from episoded.processors.episode import Episode
from episoded.processors.errors import Cancelled, DiskFullError, EpisodedError


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (truncate, "png_truncated"),
    "empty": (lambda path: path.write_bytes(b""), "png_empty"),
    "a flipped bit": (flip_a_bit, "png_bad_crc"),
    "without its end": (lambda path: os.truncate(path, path.stat().st_size - 12), "png_truncated"),
    "of another size": (lambda path: scene(5, 98, 64).save(path), "mixed_size"),
    "16 bits deep": (lambda path: Image.fromarray(np.full((64, 96), 900, np.uint16)).save(path), "png_16bit"),
    "a JPEG": (lambda path: scene(5).save(path, "JPEG"), "png_not_png"),
    "a Git LFS pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "lfs_pointer"),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_frame_fails_the_episode_by_name_and_harms_no_png(
    damage: str, threads: int, recorded: Recorded
) -> None:
    episode = recorded(12)
    do, code = DAMAGE[damage]
    bad = pngs(episode)[5]
    do(bad)
    before = {path: path.read_bytes() for path in pngs(episode)}
    error = failure(episode, threads=threads)
    assert error.code == code
    assert str(bad) in error.message
    assert {path: path.read_bytes() for path in pngs(episode)} == before


def test_a_first_frame_that_is_damaged_is_named_too(recorded: Recorded) -> None:
    episode = recorded()
    truncate(pngs(episode)[0])
    assert failure(episode).code == "png_truncated"


def test_frames_that_do_not_match_the_rows_are_refused(recorded: Recorded) -> None:
    episode = recorded(12)
    assert failure(replace(episode, length=13)).code == "frame_count"
    assert failure(replace(episode, length=11)).code == "frame_count"


def test_a_frame_that_goes_away_is_worth_another_try(recorded: Recorded) -> None:
    episode = recorded()
    pngs(episode)[7].unlink()
    error = failure(episode, EpisodedError)
    assert (error.code, error.retryable) == ("file_vanished", True)


def test_odd_dimensions_fail_with_the_ways_out(recorded: Recorded) -> None:
    episode = recorded(4, size=(95, 63))
    error = failure(episode)
    assert error.code == "odd_dimensions"
    assert "95x63" in error.message
    assert "yuv444p" in error.hint
    assert run(episode, odd_dimensions="yuv444p").facts["pix_fmt"] == "yuv444p"


def test_av1_takes_odd_dimensions(recorded: Recorded) -> None:
    facts = run(recorded(4, size=(95, 67)), profile="lerobot").facts
    assert (facts["width"], facts["height"], facts["pix_fmt"]) == (95, 67, "yuv420p")


def test_a_quality_below_the_limit_names_camera_and_frame(recorded: Recorded) -> None:
    error = failure_keeping_scratch(recorded(), crf=51, min_psnr_db=45)
    assert error.code == "low_psnr"
    assert KEY in error.message
    assert "frame 0" in error.message


def failure_keeping_scratch(episode: Episode, **settings: Any) -> EpisodedError:
    with pytest.raises(EpisodedError) as caught:
        run(episode, **settings)
    return caught.value


def test_colours_gone_wrong_are_noticed_where_psnr_is_not_low() -> None:
    rgb = np.asarray(scene(3))
    expected = reference(rgb)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    right = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace="ITU601")
    wrong = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="JPEG", dst_colorspace="ITU601")
    swapped = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[..., ::-1]), format="rgb24").reformat(
        format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace="ITU601"
    )
    assert psnr(expected, right) > 55
    assert shift(expected, right) < 0.6
    assert psnr(expected, wrong) > 25
    assert shift(expected, wrong) > LARGEST_SHIFT
    assert shift(expected, swapped) > LARGEST_SHIFT


def test_a_frame_whose_colours_are_not_those_of_its_png_is_named(recorded: Recorded) -> None:
    written = run(recorded(12)).path
    swapped = reference(np.ascontiguousarray(np.asarray(scene(3))[..., ::-1]))
    with pytest.raises(EpisodedError) as caught:
        verify(written, Expectation(KEY, 12, Fraction(30), references={3: swapped}))
    assert caught.value.code == "wrong_colour"
    assert "frame 3" in caught.value.message


def test_a_full_disk_counts_no_attempt(recorded: Recorded) -> None:
    ctx = context(recorded())
    (ctx.scratch / f"{KEY}.video").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        run_in(ctx)


@pytest.mark.parametrize("threads", [1, 2])
def test_cancelled_work_leaves_nothing_open_and_no_thread(threads: int, recorded: Recorded) -> None:
    episode = recorded(40)
    run(episode, threads)  # whatever libraries open once is open now
    files, running = open_files(), threading.active_count()
    asked: list[int] = []
    ctx = context(episode, threads, cancelled=lambda: len(asked) >= 20 or bool(asked.append(1)))
    for left in ctx.scratch.iterdir():
        left.unlink()
    with pytest.raises(Cancelled):
        run_in(ctx)
    assert list(ctx.scratch.iterdir()) == []
    assert (open_files(), threading.active_count()) == (files, running)


def test_reading_back_can_be_cancelled_too(recorded: Recorded) -> None:
    asked: list[int] = []
    ctx = context(recorded(12), cancelled=lambda: len(asked) >= 15 or bool(asked.append(1)))
    with pytest.raises(Cancelled):
        run_in(ctx)
