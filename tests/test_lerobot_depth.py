"""LeRobot's own depth videos: its codes to the digit, bit-exact in HEVC, nothing lost but what its formula loses."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from episoded.processors.errors import InputError
from episoded.processors.media import lerobot_depth
from episoded.processors.media.lerobot_depth import LARGEST, DepthCodes
from episoded.processors.media.writer import Encoding, VideoWriter

EVERY_MM = np.arange(65536, dtype=np.uint16)


def as_lerobot_computes_it(depth: np.ndarray) -> np.ndarray:
    """`quantize_depth` of LeRobot 0.6 with its defaults, for depth in mm, written down from its source."""
    low, high = (math.log(float(np.float32(end) + np.float32(3500))) for end in (10, 10000))
    share = (np.log(depth.astype(np.float32) + np.float32(3500)) - low) / (high - low)
    return np.rint(share * 4095).clip(0, 4095).astype(np.uint16)


def write(path: Path, frames: list[np.ndarray], encoding: Encoding | None = None) -> Path:
    height, width = frames[0].shape
    with VideoWriter(
        path, encoding or lerobot_depth.encoding(), width=width, height=height, rate=Fraction(30)
    ) as writer:
        for codes in frames:
            writer.write(lerobot_depth.frame_of(codes))
    return path


def test_the_codes_of_every_millimetre_are_lerobots() -> None:
    assert np.array_equal(DepthCodes().of_millimetres(EVERY_MM), as_lerobot_computes_it(EVERY_MM))


def test_metres_and_millimetres_give_the_same_codes() -> None:
    metres = EVERY_MM / np.float32(1000)
    difference = DepthCodes().of_metres(metres).astype(int) - DepthCodes().of_millimetres(EVERY_MM)
    assert np.abs(difference).max() <= 1  # where rounding decides
    assert np.count_nonzero(difference) < 20


def test_reading_back_is_off_by_half_a_step_at_most() -> None:
    codes, depth = DepthCodes(), np.arange(10, 10001, dtype=np.uint16)
    error = np.abs(codes.to_metres(codes.of_millimetres(depth)) * 1000 - depth)
    assert np.all(error <= 0.5 * (depth / 1000 + 3.5) * 0.331)
    assert error.max() > 1  # it is lossy: FFV1 is the master


@pytest.mark.parametrize("use_log", [True, False])
def test_no_reading_stays_no_reading_and_far_is_the_far_end(use_log: bool) -> None:
    codes = DepthCodes(use_log=use_log)
    depth = np.array([[0, 5, 65535]], dtype=np.uint16)
    assert codes.of_millimetres(depth).tolist() == [[0, 0, LARGEST]]
    assert codes.of_metres(np.array([np.nan, -1, 0, np.inf], np.float32)).tolist() == [0, 0, 0, LARGEST]
    assert codes.to_millimetres(codes.of_millimetres(depth)).tolist() == [[0, 0, 10000]]
    assert codes.to_metres(np.array([0])).tolist() == [pytest.approx(0.01)]  # what LeRobot itself reads there


@pytest.mark.parametrize("size", [(48, 64), (63, 77), (16, 16)])
def test_every_code_survives_the_video(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    frames = [rng.integers(0, LARGEST + 1, size, dtype=np.uint16) for _ in range(4)]
    path = write(tmp_path / "depth.mp4", frames)
    assert np.array_equal(np.stack(list(lerobot_depth.read_codes(path))), np.stack(frames))


def test_the_info_of_a_feature_says_how_to_read_it() -> None:
    codes = DepthCodes(depth_max=5.0, use_log=False)
    info = codes.info()
    assert (info["is_depth_map"], info["depth_unit"], info["video.depth_max"]) == (True, "mm", 5.0)
    assert DepthCodes.of_info(info) == codes
    assert DepthCodes.of_info({"video.height": 480}) == DepthCodes()


def test_a_camera_in_colours_is_not_taken_for_depth(tmp_path: Path) -> None:
    x264 = Encoding("libx264", {"preset": "fast"}, "gray")
    path = tmp_path / "gray.mp4"
    with VideoWriter(path, x264, width=64, height=48, rate=Fraction(30)) as writer:
        writer.write(lerobot_depth.VideoFrame.from_ndarray(np.zeros((48, 64), np.uint8), format="gray"))
    with pytest.raises(InputError, match="gray") as refused:
        next(lerobot_depth.read_codes(path))
    assert refused.value.code == "depth_format"
