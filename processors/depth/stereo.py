"""Depth from a pair of cameras: OpenCV's semi-global matching, and what a calibration makes of it.

    depth in metres = fx * baseline / (disparity + doffs)

`fx` and `doffs` in pixels of the pictures that are matched, `baseline` in metres. The pair must be rectified: a point
lies on the same row in both pictures. That is checked on the pixels, because a pair that is not gives depth that looks
plausible and is wrong. Source: Hirschmueller, "Stereo processing by semiglobal matching and mutual information" (2008).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EpisodedError, InputError, from_os_error
from .source import Piece
from .tracking import Intrinsics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .codes import Kind
    from .source import Frames, State
    from .stereo_pairs import Pairs, Picture

PIECE = 8  # frames
NEAREST_M = 0.25


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of a rectified pair. `fx`, `doffs`: in pixels of pictures of `width`. `baseline_m`: between the two centres.

    `doffs`: principal point of the right camera less that of the left, 0 for most. `cx`, `cy`: principal point of the
    left one, in the same pixels, (0, 0) being the centre of the upper left one; None where it is not known.
    """

    fx: float
    baseline_m: float
    width: int
    doffs: float = 0.0
    cx: float | None = None
    cy: float | None = None

    def at(self, width: int) -> Calibration:
        """The same for pictures of another width."""
        scale = width / self.width
        cx, cy = (None if at is None else (at + 0.5) * scale - 0.5 for at in (self.cx, self.cy))
        return Calibration(self.fx * scale, self.baseline_m, width, self.doffs * scale, cx, cy)

    def intrinsics(self, height: int, width: int) -> Intrinsics:
        """Of the left camera, for pictures of this size. Rectified pictures have the same fx and fy."""
        ours = self.at(width)
        if ours.cx is None or ours.cy is None:
            middle = (width - 1) / 2, (height - 1) / 2
            return Intrinsics(ours.fx, ours.fx, *middle, "the calibration of the pair, the optical axis in the middle")
        return Intrinsics(ours.fx, ours.fx, ours.cx, ours.cy, "the calibration of the pair")

    def depth(self, disparity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Metres; NaN where the disparity is NaN or puts the point at infinity."""
        shifted = disparity + np.float32(self.doffs)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.float32(self.fx * self.baseline_m) / shifted
        return np.where(shifted > 0, depth, np.float32(np.nan)).astype(np.float32)


def read_calibration(path: Path) -> Calibration:
    """A JSON file with `fx` (pixels), `baseline_m`, `width` (pixels) and, if known, `doffs`, `cx`, `cy` (pixels).

    Raises InputError (`stereo_calibration`) that says what is missing.
    """
    try:
        value = json.loads(path.read_bytes())
        fx, baseline_m, width = float(value["fx"]), float(value["baseline_m"]), int(value["width"])
        cx, cy = (None if value.get(key) is None else float(value[key]) for key in ("cx", "cy"))
        found = Calibration(fx, baseline_m, width, float(value.get("doffs", 0)), cx, cy)
    except OSError as error:
        raise from_os_error(error) from error
    except (ValueError, TypeError, KeyError) as error:
        what = f"{path} is no stereo calibration: {type(error).__name__}: {error}"
        hint = (
            '{"fx": pixels, "baseline_m": metres, "width": pixels of one picture}; "doffs": pixels, where it is not 0'
        )
        raise InputError("stereo_calibration", what, hint) from error
    if not (found.fx > 0 and 0 < found.baseline_m < 10 and found.width > 0):
        what = f"{path}: fx {found.fx}, baseline {found.baseline_m} m, width {found.width} cannot be"
        raise InputError("stereo_calibration", what, "the baseline is in metres, fx in pixels; both are positive")
    return found


@dataclass(frozen=True)
class StereoSource:
    """A source of depth: metric, of the left eye. Conforms to `DepthSource`.

    `nearest_m`: nothing nearer than this is found; the range of disparities, and the time, grow with its inverse.
    A pixel has depth only where the match is unique by 10 %, found from both eyes within a pixel, and not a speckle.
    Each piece tells the share of pixels that have (`valid_share`).
    """

    pairs: Pairs
    calibration: Calibration
    nearest_m: float = NEAREST_M
    name: str = "stereo"
    kind: Kind = "metric_m"

    @property
    def facts(self) -> Mapping[str, Any]:
        """The method, and everything that its numbers depend on."""
        calibration = self._fitted
        return {
            "method": "opencv-sgbm-3way",
            "num_disparities": self._disparities,
            "nearest_m": self.nearest_m,
            "fx": calibration.fx,
            "doffs": calibration.doffs,
            "baseline_m": calibration.baseline_m,
            "error_m_per_pixel_at_1m": round(1 / (calibration.fx * calibration.baseline_m), 6),
        }

    def maps(
        self,
        frames: Frames,
        state: State | None = None,
        devices: Sequence[str] = ("cpu",),  # noqa: ARG002 - a CPU does it
        check_cancelled: Callable[[], None] = lambda: None,
        threads: int = 1,  # noqa: ARG002 - OpenCV takes what is there; it cuts a picture into four strips whatever that is
    ) -> Iterator[Piece]:
        """See `DepthSource.maps`. Raises InputError: `unrectified_stereo`, `stereo_swapped`, `stereo_pair`."""
        ours, theirs = ((each.count, each.height, each.width) for each in (self.pairs, frames))
        if ours != theirs:
            what = f"the stereo pair has (frames, height, width) {ours}, the camera {theirs}"
            raise InputError("stereo_pair", what, "both must be of the same recording, whole")
        self._check_rectified()
        matcher, start = self._matcher(), int(state["next"][0]) if state is not None else 0
        pairs = self.pairs.read(start)
        while batch := list(islice(pairs, PIECE)):
            maps = []
            for left, right in batch:
                check_cancelled()
                maps.append(self._fitted.depth(self._match(matcher, left, right)))
            start += len(maps)
            share = float(np.mean([np.isfinite(values).mean() for values in maps]))
            yield Piece(maps, partial(_state, start), {"valid_share": round(share, 4)})

    @property
    def _fitted(self) -> Calibration:
        return self.calibration.at(self.pairs.width)

    @property
    def _disparities(self) -> int:
        """How many disparities are tried: up to the nearest depth, at most half the picture; a multiple of 16."""
        calibration = self._fitted
        largest = calibration.fx * calibration.baseline_m / self.nearest_m - calibration.doffs
        return max(16, -(-int(min(largest, self.pairs.width / 2)) // 16) * 16)

    def _matcher(self) -> Any:
        cv2 = _opencv()
        block = 5
        return cv2.StereoSGBM_create(
            minDisparity=0,
            numDisparities=self._disparities,
            blockSize=block,
            P1=8 * block * block,
            P2=32 * block * block,
            disp12MaxDiff=1,
            preFilterCap=31,
            uniquenessRatio=10,
            speckleWindowSize=100,
            speckleRange=2,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )

    def _match(self, matcher: Any, left: Picture, right: Picture) -> NDArray[np.float32]:
        """Disparity of the left picture in pixels; NaN where there is none.

        The matcher gives nothing for its first `num_disparities` columns, so both pictures get as many more there.
        """
        cv2 = _opencv()
        margin = self._disparities
        gray = (cv2.cvtColor(np.ascontiguousarray(eye), cv2.COLOR_RGB2GRAY) for eye in (left, right))
        padded = (cv2.copyMakeBorder(eye, 0, 0, margin, 0, cv2.BORDER_REPLICATE) for eye in gray)
        sixteenths: NDArray[np.int16] = matcher.compute(*padded)[:, margin:]
        disparity = sixteenths.astype(np.float32) / np.float32(16)
        disparity[sixteenths < 0] = np.nan
        return disparity

    def _check_rectified(self) -> None:
        """Look at the first pairs with enough to compare; see `rectification`."""
        for left, right in islice(self.pairs.read(), _CHECKED_FRAMES):
            found = rectification(left, right, self._disparities)
            if found is None:
                continue
            rows, columns = found
            if rows > LARGEST_ROW_ERROR:
                what = f"points of the left picture lie {rows:.1f} rows off in the right one"
                hint = "rectify the pair first (its calibration has what is needed), or give the rectified recording"
                raise InputError("unrectified_stereo", what, hint)
            if columns < 0:
                what = f"points lie {-columns:.1f} columns further right in the right picture"
                raise InputError("stereo_swapped", what, "left and right are swapped: name them the other way round")
            return


LARGEST_ROW_ERROR = 1.0  # pixels, of the median
_FEWEST_MATCHES = 30
_CHECKED_FRAMES = 5


def rectification(left: Picture, right: Picture, disparities: int) -> tuple[float, float] | None:
    """(median |row difference|, median disparity) in pixels of points found in both pictures; None: too few.

    ORB features, each the best match of the other (Rublee et al., ICCV 2011).
    """
    cv2 = _opencv()
    gray = [cv2.cvtColor(np.ascontiguousarray(eye), cv2.COLOR_RGB2GRAY) for eye in (left, right)]
    (points, one), (others, other) = (cv2.ORB_create(2000).detectAndCompute(eye, None) for eye in gray)
    if one is None or other is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one, other)
    pairs = [(points[match.queryIdx].pt, others[match.trainIdx].pt) for match in matches if match.distance <= 40]
    moved = np.array([(x - u, y - v) for (x, y), (u, v) in pairs]).reshape(-1, 2)
    near = moved[(np.abs(moved[:, 0]) <= disparities) & (np.abs(moved[:, 1]) <= left.shape[0] / 10)]
    if len(near) < _FEWEST_MATCHES:
        return None
    return float(np.median(np.abs(near[:, 1]))), float(np.median(near[:, 0]))


def _state(start: int) -> State:
    return {"next": np.array([start])}


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        what = "stereo depth needs OpenCV, which is not installed"
        raise EpisodedError("no_opencv", what, "pip install 'episoded[stereo]'") from error
    return cv2
