"""Intrinsics of a ZED camera from Stereolabs: its factory calibration file, the SDK, or the type's usual numbers.

DROID's MP4s show the rectified left view. The factory file has the numbers of the raw lenses: the rectified ones follow
from both lenses and how they stand to each other, as in OpenCV's `stereoRectify`.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from .values import Intrinsics

if TYPE_CHECKING:
    from pathlib import Path

#: Of the resolutions in the file: DROID's. The calibration of another follows from it.
_MODE: Final = "HD"
_SIZE: Final = (1280, 720)
#: Rectified focal length at 1280 x 720 in px: of the released calibrations, the mean of 77,000 wrist cameras (Mini).
_NOMINAL: Final = {"ZED 2": 528.0, "ZED Mini": 731.0}
#: Distance between the lenses in m, which tells the types apart.
_BASELINES: Final = {"ZED 2": 0.120, "ZED Mini": 0.063}
_SDK_TAKES_AT_MOST_S: Final = 60.0

#: Runs in a process of its own: the SDK is known to crash, and `pyzed` of the package index is another package.
_ASK_THE_SDK: Final = """
import json, sys
from pyzed import sl
camera = sl.Camera()
setup = sl.InitParameters()
setup.set_from_svo_file(sys.argv[1])
setup.depth_mode = sl.DEPTH_MODE.NONE
status = camera.open(setup)
assert status == sl.ERROR_CODE.SUCCESS, status
known = camera.get_camera_information().camera_configuration
left = known.calibration_parameters.left_cam
size = known.resolution
print(json.dumps({"fx": left.fx, "fy": left.fy, "cx": left.cx, "cy": left.cy,
                  "width": size.width, "height": size.height}))
"""


def from_conf(path: Path) -> Intrinsics:
    """Rectified intrinsics of the left camera from `SN<serial>.conf`. Raises ValueError saying what is wrong with it.

    What people have under that name: decimal commas, keys in any case, and the error page of a web server.
    """
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    if text.lstrip().startswith("<"):
        raise ValueError("a web page, not a calibration: download it again")
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    sections = {name.upper(): dict(parser[name]) for name in parser.sections()}
    try:
        return _rectified(sections)
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}") from error


def _rectified(sections: dict[str, dict[str, str]]) -> Intrinsics:
    import cv2
    import numpy as np

    left, right = (_lens(sections[f"{side}_CAM_{_MODE}"]) for side in ("LEFT", "RIGHT"))
    stereo = sections["STEREO"]
    angles = [_number(stereo, f"{axis}_{_MODE}") for axis in ("rx", "cv", "rz")]
    aside = [_number(stereo, f"{axis}_{_MODE}", axis, default=0.0) for axis in ("ty", "tz")]
    shift = np.array([[-_number(stereo, "baseline")], *([number] for number in aside)])
    rotation = cv2.Rodrigues(np.array(angles))[0]
    # The new camera has one focal length for both views and both axes; alpha 0: only valid pixels, as the SDK shows.
    try:
        rectified = cv2.stereoRectify(*left, *right, _SIZE, rotation, shift, flags=cv2.CALIB_ZERO_DISPARITY, alpha=0)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot rectify by these numbers: {error}") from error
    projection = rectified[2]
    fx, fy, cx, cy = (float(projection[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Intrinsics(
        fx,
        fy,
        cx,
        cy,
        *_SIZE,
        "stereolabs",
        detail="rectified from the factory calibration",
        baseline_m=_number(stereo, "baseline") / 1000,
        baseline_source="stereolabs",
    )


def _lens(section: dict[str, str]) -> tuple[Any, Any]:
    import numpy as np

    fx, fy, cx, cy = (_number(section, key) for key in ("fx", "fy", "cx", "cy"))
    lens = [_number(section, key, default=0.0) for key in ("k1", "k2", "p1", "p2", "k3")]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(lens)


def _number(section: dict[str, str], *keys: str, default: float | None = None) -> float:
    """Configparser has made the keys lower case."""
    for key in keys:
        if (text := section.get(key.lower())) is not None:
            return float(text.strip().replace(",", "."))
    if default is None:
        raise KeyError(keys[0])
    return default


def from_sdk(svo: Path) -> Intrinsics:
    """Rectified intrinsics from an SVO by the ZED SDK. Raises ValueError where there is none or it cannot."""
    command = [sys.executable, "-c", _ASK_THE_SDK, str(svo)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SDK_TAKES_AT_MOST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the ZED SDK did not answer within {_SDK_TAKES_AT_MOST_S:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ValueError(f"the ZED SDK is not installed or cannot open {svo.name}: {reason}")
    value = json.loads(lines[-1])
    size = int(value["width"]), int(value["height"])
    return Intrinsics(value["fx"], value["fy"], value["cx"], value["cy"], *size, "zed_sdk")


def model_of(baseline_m: float | None, *, wrist: bool) -> str:
    """The type of a camera, by the distance between its lenses where that is known, else by where it is mounted."""
    if baseline_m is None:
        return "ZED Mini" if wrist else "ZED 2"
    return min(_BASELINES, key=lambda model: abs(_BASELINES[model] - baseline_m))


def nominal_baseline_m(model: str) -> float:
    """The distance between the lenses of such a camera: right to a tenth of a millimetre for every one of them."""
    return _BASELINES[model]


def nominal(model: str) -> Intrinsics:
    """What a camera of this type usually has: off by some percent. For the last rung of the ladder."""
    focal = _NOMINAL[model]
    return Intrinsics(focal, focal, 639.5, 359.5, 1280, 720, "nominal", detail=f"usual numbers of a {model}")
