"""Depth from two cameras is right where it is given, and not given from pictures that are no rectified pair."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

cv2 = pytest.importorskip("cv2")

from episoded.processors.depth.frames import look_at  # noqa: E402
from episoded.processors.depth.ladder import Case, Choice, choose  # noqa: E402
from episoded.processors.depth.params import DepthParams  # noqa: E402
from episoded.processors.depth.source import Piece  # noqa: E402
from episoded.processors.depth.stereo import Calibration, StereoSource, read_calibration, rectification  # noqa: E402
from episoded.processors.depth.stereo_pairs import LeftEye, SideBySide, TwoVideos, is_side_by_side  # noqa: E402
from episoded.processors.episode import Camera, Episode  # noqa: E402
from episoded.processors.errors import InputError, RetryableError  # noqa: E402
from episoded.processors.media.frames import FrameReader  # noqa: E402
from episoded.processors.media.writer import Encoding, VideoWriter  # noqa: E402
from lerobot_data import DATA  # noqa: E402

Picture = NDArray[np.uint8]
MOTORCYCLE = DATA / "stereo/motorcycle"
HEIGHT, WIDTH = 120, 200
WALL, BOX = 8, 24  # disparities in pixels
RIG = Calibration(fx=100.0, baseline_m=0.24, width=WIDTH)  # wall at 3 m, box at 1 m


@dataclass(frozen=True)
class Still:
    """The same picture again and again."""

    picture: Picture
    count: int = 1

    @property
    def height(self) -> int:
        return self.picture.shape[0]

    @property
    def width(self) -> int:
        return self.picture.shape[1]

    def read(self, start: int = 0) -> Iterator[Picture]:
        for _ in range(start, self.count):
            yield self.picture


def rendered(seed: int = 0) -> tuple[Picture, Picture]:
    """A textured wall with a textured box in front of it, seen from two places."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(0, 256, (HEIGHT, WIDTH + WALL, 3), dtype=np.uint8)
    box = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    wall, box = (cv2.GaussianBlur(texture, (0, 0), 1.0) for texture in (wall, box))
    left, right = np.ascontiguousarray(wall[:, :WIDTH]), np.ascontiguousarray(wall[:, WALL:])
    left[30:80, 90:150], right[30:80, 90 - BOX : 150 - BOX] = box, box
    return left, right


def pair(left: Picture, right: Picture, count: int = 1) -> TwoVideos:
    return TwoVideos(Still(left, count), Still(right, count))


def depth_of(source: StereoSource) -> list[Piece]:
    return list(source.maps(LeftEye(source.pairs)))


def test_depth_is_right_up_to_the_left_border() -> None:
    (piece,) = depth_of(StereoSource(pair(*rendered()), RIG, nearest_m=0.75))
    (depth,) = piece.maps
    assert depth.dtype == np.float32
    assert np.nanmedian(np.abs(depth[35:75, 95:145] - 1.0)) < 0.01
    assert np.nanmedian(np.abs(depth[:, 160:] - 3.0)) < 0.05
    border = depth[10:110, WALL + 4 : 30]  # seen by both eyes, and less than the 32 disparities from the border
    assert np.isfinite(border).mean() > 0.9
    assert np.nanmedian(np.abs(border - 3.0)) < 0.05
    assert 0.7 < piece.facts["valid_share"] < 1


@pytest.mark.skipif(not MOTORCYCLE.is_dir(), reason=f"needs the real pair ({MOTORCYCLE})")
def test_a_real_pair_agrees_with_its_ground_truth() -> None:
    given = dict(line.split() for line in (MOTORCYCLE / "calib.txt").read_text().splitlines()[:-1])
    left, right = (FrameReader().read(MOTORCYCLE / f"motorcycle_{eye}.png").rgb.copy() for eye in ("left", "right"))
    rig = Calibration(
        float(given["focal_px"]), float(given["baseline_mm"]) / 1000, left.shape[1], float(given["doffs_px"])
    )
    truth = rig.depth(np.load(MOTORCYCLE / "motorcycle_disp.npz")["arr_0"])
    truth[truth == 0] = np.nan
    (piece,) = depth_of(StereoSource(pair(left, right), rig, nearest_m=1.5))
    depth = piece.maps[0]
    both = np.isfinite(depth) & np.isfinite(truth)
    off = np.abs(depth - truth)[both]
    assert both.sum() > 0.9 * np.isfinite(truth).sum()
    assert np.median(off) < 0.01  # metres, at 2.1 to 5 m
    assert np.mean(off < 0.05 * truth[both]) > 0.92


class TestNoPair:
    def test_pictures_that_are_not_rectified(self) -> None:
        left, right = rendered()
        with pytest.raises(InputError, match=r"3\.0 rows off") as caught:
            depth_of(StereoSource(pair(left, np.roll(right, 3, axis=0)), RIG))
        assert caught.value.code == "unrectified_stereo"

    def test_eyes_that_are_swapped(self) -> None:
        left, right = rendered()
        with pytest.raises(InputError, match="further right") as caught:
            depth_of(StereoSource(pair(right, left), RIG))
        assert caught.value.code == "stereo_swapped"

    def test_videos_of_different_length(self) -> None:
        left, right = rendered()
        with pytest.raises(InputError, match="left and right differ") as caught:
            TwoVideos(Still(left, 3), Still(right, 4))
        assert caught.value.code == "stereo_pair"

    def test_a_camera_of_another_size_than_the_pair(self) -> None:
        left, right = rendered()
        source = StereoSource(pair(left, right), RIG)
        with pytest.raises(InputError, match="the camera"):
            next(source.maps(Still(left[:, :100])))

    def test_pictures_without_anything_to_compare_are_not_judged(self) -> None:
        blank = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        assert rectification(blank, blank, 64) is None
        (piece,) = depth_of(StereoSource(pair(blank, blank), RIG))
        assert piece.facts["valid_share"] < 0.1


class TestStreaming:
    def test_it_goes_on_after_any_piece_with_the_same_bytes(self) -> None:
        left, right = rendered()
        source = StereoSource(pair(left, right, 20), RIG)
        first, second, third = depth_of(source)
        pieces = source.maps(LeftEye(source.pairs))
        state = next(pieces).state()
        pieces.close()
        rest = list(source.maps(LeftEye(source.pairs), state))
        assert [len(piece.maps) for piece in (first, *rest)] == [8, 8, 4]
        for ours, theirs in zip(rest, (second, third), strict=True):
            assert all(a.tobytes() == b.tobytes() for a, b in zip(ours.maps, theirs.maps, strict=True))

    def test_both_eyes_of_one_video(self, tmp_path: Path) -> None:
        path = tmp_path / "stereo.mkv"
        both = np.concatenate(rendered(), axis=1)
        encoding = Encoding("ffv1", pix_fmt="bgr0", frame_threads=False)
        with VideoWriter(
            path, encoding, width=2 * WIDTH, height=HEIGHT, rate=Fraction(15), container="matroska"
        ) as writer:
            for _ in range(3):
                writer.write(VideoFrame.from_ndarray(both, format="rgb24").reformat(format="bgr0"))
        source = StereoSource(SideBySide(look_at(path)), RIG, nearest_m=0.75)
        (piece,) = depth_of(source)
        (expected,) = depth_of(StereoSource(pair(*rendered()), RIG, nearest_m=0.75))
        assert len(piece.maps) == 3
        assert np.array_equal(piece.maps[2], expected.maps[0], equal_nan=True)

    @pytest.mark.parametrize(
        ("height", "width", "two"), [(720, 2560, True), (720, 1280, False), (376, 1344, True), (480, 640, False)]
    )
    def test_two_pictures_side_by_side_are_known_by_their_shape(self, height: int, width: int, two: bool) -> None:
        assert is_side_by_side("wrist", height, width) is two

    @pytest.mark.parametrize(("named", "two"), [(("stereo", "wr*"), True), (("stereo",), False), ((), False)])
    def test_or_by_their_name_whatever_their_shape(self, named: tuple[str, ...], two: bool) -> None:
        assert is_side_by_side("wrist", 480, 1280, named) is two
        assert is_side_by_side("wrist", 720, 2560, named) is two


def test_a_small_pair_that_is_named_gets_its_depth_by_stereo(tmp_path: Path) -> None:
    """Two narrow pictures side by side are no 3:1 panorama."""
    (tmp_path / "rig.json").write_text(json.dumps({"fx": 100, "baseline_m": 0.24, "width": WIDTH}))
    left, right = (eye[:, 20:180] for eye in rendered())
    both = Still(np.ascontiguousarray(np.concatenate([left, right], axis=1)))
    camera = Camera("wrist", None, PurePosixPath("wrist.mp4"))
    episode = Episode(tmp_path, tmp_path, "clip", 0, 1, Fraction(15), (camera,))

    def chosen(**settings: Any) -> Choice:
        params = DepthParams(ways=("stereo", "none"), calibration=tmp_path / "rig.json", **settings)
        return choose(Case(camera, both, params, episode, lambda _: both))

    assert chosen().way is None
    assert "side_by_side" in chosen().ladder[0]["why"]
    way = chosen(side_by_side=("wr*",)).way
    assert way is not None
    assert (way.frames.height, way.frames.width) == (HEIGHT, 160)
    assert way.intrinsics is not None
    assert way.intrinsics.fx == 80.0


class TestCalibration:
    def test_it_is_scaled_to_the_pictures(self) -> None:
        half = Calibration(1000.0, 0.1, 1280, doffs=8.0).at(640)
        assert half == Calibration(500.0, 0.1, 640, doffs=4.0)
        assert Calibration(1000.0, 0.1, 1280, cx=639.5, cy=400.5).at(640).cx == 319.5
        assert Calibration(1000.0, 0.1, 1280, cx=639.5, cy=400.5).at(640).cy == 200.0
        disparity = np.array([[46.0, np.nan, -4.0]], np.float32)
        assert half.depth(disparity)[0, 0] == 1.0
        assert np.isnan(half.depth(disparity)[0, 1:]).all()

    def test_the_range_of_disparities_reaches_the_nearest_depth(self) -> None:
        blank = np.zeros((720, 1280, 3), np.uint8)
        source = StereoSource(pair(blank, blank), Calibration(530.0, 0.12, 1280), nearest_m=0.25)
        assert source.facts["num_disparities"] == 256
        assert source.facts["baseline_m"] == 0.12

    def test_it_comes_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rig.json"
        path.write_text(json.dumps({"fx": 532.5, "baseline_m": 0.12, "width": 1280}))
        assert read_calibration(path) == Calibration(532.5, 0.12, 1280)
        path.write_text(json.dumps({"fx": 532.5, "baseline_m": 0.12, "width": 1280, "doffs": 3, "cx": 640, "cy": 350}))
        assert read_calibration(path) == Calibration(532.5, 0.12, 1280, 3.0, 640.0, 350.0)

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"fx": 500}', '{"fx": 500, "baseline_m": 120, "width": 1280}', '{"fx": "wide"}']
    )
    def test_a_file_that_is_none_is_refused_with_what_it_must_hold(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "rig.json").write_text(text)
        with pytest.raises(InputError, match=r"rig\.json") as caught:
            read_calibration(tmp_path / "rig.json")
        assert caught.value.code == "stereo_calibration"
        assert caught.value.hint

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(RetryableError):
            read_calibration(tmp_path / "rig.json")
