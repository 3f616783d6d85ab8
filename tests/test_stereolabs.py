"""The factory calibration of a ZED camera, as Stereolabs publishes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calibrated_place import (
    CONF,
    Place,
    place,  # noqa: F401 - a fixture
)
from droid_data import (
    EXT1,
    quality,
)
from episoded.processors.calibration import stereolabs

if TYPE_CHECKING:
    from pathlib import Path


class TestStereolabs:
    def test_rectified_as_opencv_does(self, tmp_path: Path) -> None:
        import cv2

        (tmp_path / "SN1.conf").write_text(CONF)
        found = stereolabs.from_conf(tmp_path / "SN1.conf")
        left = np.array([[700.1, 0, 640.5], [0, 700.2, 361], [0, 0, 1]])
        right = np.array([[700.1, 0, 645], [0, 700.2, 361], [0, 0, 1]])
        lens = np.array([-0.17, 0.026, 0, 0, 0])
        turn = cv2.Rodrigues(np.array([0.002, 0.004, -0.001]))[0]
        shift = np.array([[-119.9], [0.1], [-0.2]])
        expected = cv2.stereoRectify(
            left, lens, right, lens, (1280, 720), turn, shift, flags=cv2.CALIB_ZERO_DISPARITY, alpha=0
        )
        np.testing.assert_allclose(found.matrix, expected[2][:, :3])
        assert (found.width, found.height, found.rectified, found.distortion) == (1280, 720, True, (0.0,) * 5)
        assert found.nonsense() == ""

    def test_as_people_have_it(self, tmp_path: Path) -> None:
        path = tmp_path / "SN1.conf"
        path.write_text(CONF)
        expected = stereolabs.from_conf(path)
        path.write_bytes(b"\xef\xbb\xbf" + CONF.replace(".", ",").upper().replace("\n", "\r\n").encode())
        assert stereolabs.from_conf(path) == expected

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("<html><body>404</body></html>", "web page"),
            ("fx=1", "no section"),
            ("[LEFT_CAM_HD]\nfx=1", "it has no"),
            (CONF.replace("fx=700.1", "fx=many"), "could not convert"),
        ],
    )
    def test_what_is_none(self, tmp_path: Path, text: str, why: str) -> None:
        (tmp_path / "SN1.conf").write_text(text)
        with pytest.raises(ValueError, match=why):
            stereolabs.from_conf(tmp_path / "SN1.conf")

    def test_no_sdk_is_no_rung(self, place: Place) -> None:
        (place.folder / "recordings/SVO").mkdir(parents=True)
        (place.folder / f"recordings/SVO/{EXT1}.svo").write_bytes(b"SVO")
        out = place.process(zed_sdk=True)
        assert quality(out)["intrinsics_source"][EXT1] == "nominal"
        assert any("ZED SDK is not installed" in note for note in quality(out)["notes"])

    def test_the_distance_of_the_lenses_tells_the_type(self) -> None:
        assert [stereolabs.model_of(b, wrist=True) for b in (None, 0.0633, 0.1218)] == ["ZED Mini", "ZED Mini", "ZED 2"]
        assert stereolabs.model_of(None, wrist=False) == "ZED 2"
