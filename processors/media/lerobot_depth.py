"""LeRobot's own depth videos (0.6.0 and later): 12-bit codes of depth in HEVC, bit-exact, one gray plane.

A camera feature whose `info` says `is_depth_map` is read that way by LeRobot, through PyAV, as float32 millimetres.
The codes are the loss: a step is (z + 3.5) * 0.33 mm with the default settings, 1.3 mm at 0.5 m and 4.4 mm at 10 m.
Code 0 stands for everything up to `depth_min`, "no reading" among it: there is no code of its own for that. The
formula is LeRobot's `quantize_depth` (`datasets/depth_utils.py`), in float32 like there, so that the codes are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from av.video.frame import VideoFrame

from ..errors import InputError
from . import video
from .writer import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PIX_FMT: Final = "gray12le"
#: The largest 12-bit code.
LARGEST: Final = 4095
_KEYS: Final = ("depth_min", "depth_max", "shift", "use_log")


@dataclass(frozen=True, slots=True)
class DepthCodes:
    """How depth becomes codes 0..4095: `depth_min` and `depth_max` are the depths of the two ends, in metres.

    `shift`, in metres, is added before the logarithm; `use_log` False: codes are linear in depth. The defaults are
    LeRobot's.
    """

    depth_min: float = 0.01
    depth_max: float = 10.0
    shift: float = 3.5
    use_log: bool = True

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> DepthCodes:
        """The settings in a feature's `info` (`video.depth_min` and so on); what is absent is LeRobot's default."""
        return cls(**{key: info[f"video.{key}"] for key in _KEYS if f"video.{key}" in info})

    def info(self) -> dict[str, Any]:
        """What a feature's `info` says besides size, codec and rate."""
        settings = {f"video.{key}": getattr(self, key) for key in _KEYS}
        return {"is_depth_map": True, "depth_unit": "mm", **settings}

    def of_millimetres(self, depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Codes of depth in mm, any shape. 0 (no reading) becomes code 0, more than `depth_max` becomes 4095."""
        return _table_of(self)[depth]

    def of_metres(self, depth: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
        """Codes of depth in metres, any shape. What is no number, or not above 0, becomes code 0."""
        known = np.where(depth > 0, depth, np.float32(0)).astype(np.float32)
        return self._quantised(known, scale=1.0)

    def to_metres(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Depth in metres as LeRobot reads it: code 0 is `depth_min`, whatever it stood for."""
        low, high = self._ends(1.0)
        depth = (codes * np.float64((high - low) / LARGEST)).astype(np.float32) + np.float32(low)
        if self.use_log:
            depth = np.exp(depth) - np.float32(self.shift)
        clipped: NDArray[np.float32] = np.clip(depth, np.float32(self.depth_min), np.float32(self.depth_max))
        return clipped

    def to_millimetres(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
        """Depth in mm with 0 = no reading for code 0, as in our own depth files."""
        depth: NDArray[np.uint16] = np.rint(self.to_metres(codes) * 1000).clip(0, 65535).astype(np.uint16)
        depth[np.asarray(codes) == 0] = 0
        return depth

    def _quantised(self, depth: NDArray[np.float32], scale: float) -> NDArray[np.uint16]:
        low, high = self._ends(scale)
        if self.use_log:
            depth = np.log(depth + np.float32(self.shift * scale))
        share = (depth - low) / (high - low)
        codes: NDArray[np.uint16] = np.rint(share * LARGEST).clip(0, LARGEST).astype(np.uint16)
        return codes

    def _ends(self, scale: float) -> tuple[float, float]:
        """What codes 0 and 4095 are before the step to codes, for depth in units of 1 / `scale` m."""
        ends = [np.float32(end * scale) for end in (self.depth_min, self.depth_max)]
        if self.use_log:
            ends = [np.log(np.float64(end + np.float32(self.shift * scale))) for end in ends]
        return float(ends[0]), float(ends[1])


def encoding(threads: int = 1, gop: int = 2) -> Encoding:
    """What `VideoWriter` writes them with; `gop` frames from keyframe to keyframe, as LeRobot does it."""
    params = f"lossless=1:log-level=error:pools={threads}"
    return Encoding("libx265", {"x265-params": params, "g": str(gop)}, PIX_FMT, threads)


def frame_of(codes: NDArray[np.uint16]) -> VideoFrame:
    """One picture of (H, W) codes for `VideoWriter.write`."""
    return VideoFrame.from_ndarray(np.ascontiguousarray(codes), format=PIX_FMT)


def read_codes(path: Path, threads: int = 1) -> Iterator[NDArray[np.uint16]]:
    """The (H, W) codes of a depth video, frame after frame.

    Raises as `media.video.frames`, and InputError (`depth_format`) for a video that is no single plane of 12 bits.
    """
    for frame in video.frames(path, threads):
        if frame.format.name != PIX_FMT:
            raise InputError(
                "depth_format",
                f"{path} is {frame.format.name}, a depth video of LeRobot is {PIX_FMT}",
                "it may be a camera whose depth was turned into colours: no depth can be read from it",
            )
        codes: Any = frame.to_ndarray()
        yield codes


@lru_cache(maxsize=4)
def _table_of(codes: DepthCodes) -> NDArray[np.uint16]:
    """The code of every number of millimetres."""
    return codes._quantised(np.arange(65536, dtype=np.float32), scale=1000.0)
