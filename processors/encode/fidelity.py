"""How well a decoded frame shows what its PNG held.

Two measures, both against BT.601 values computed from the PNG's own RGB here, independently of the converter that fed
the encoder. PSNR of the luma finds damaged and misplaced frames. The shift of local brightness and of the mean colour
finds a wrong matrix, a wrong range or swapped colours, which cost surprisingly little PSNR (28.6 dB for full-range
values in a limited-range stream). Chroma is compared by its mean only, because 4:2:0 keeps a quarter of it: a noisy
colour camera would otherwise fail with a faultless video.

Source of the weights: Recommendation ITU-R BT.601-7, sections 2.5.1 and 2.5.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..media.pixels import plane

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

IDENTICAL_DB = 100.0  # what a frame without any difference is given: JSON has no infinity
LARGEST_SHIFT = 4.0  # levels; encoders stay below 1
_GRID = 4

_WEIGHTS = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


@dataclass(frozen=True, slots=True)
class Reference:
    """What a frame should decode to: luma (H, W) uint8, and the means of Cb and Cr in levels."""

    luma: NDArray[np.uint8]
    chroma: tuple[float, float]


def reference(rgb: NDArray[np.uint8], *, full_range: bool = False) -> Reference:
    """The luma and mean colour of one frame (H, W, 3) in BT.601, limited range unless `full_range`."""
    luma_scale, luma_offset, chroma_scale = (1.0, 0.0, 1.0) if full_range else (219 / 255, 16.0, 224 / 255)
    luma = rgb @ (_WEIGHTS[0] * luma_scale).astype(np.float32) + np.float32(luma_offset + 0.5)
    sums = rgb.sum(axis=0, dtype=np.uint32).sum(axis=0, dtype=np.float64)  # by columns: 30 times as fast as mean()
    cb, cr = _WEIGHTS[1:] @ (sums / luma.size) * chroma_scale + 128
    return Reference(luma.astype(np.uint8), (float(cb), float(cr)))


def psnr(expected: Reference, frame: VideoFrame) -> float:
    """Luma PSNR of a decoded planar YUV frame in dB, at most 100."""
    difference = plane(frame).astype(np.int32) - expected.luma
    error = float(np.mean(difference * difference))
    return min(IDENTICAL_DB, 10 * math.log10(255**2 / error)) if error else IDENTICAL_DB


def shift(expected: Reference, frame: VideoFrame) -> float:
    """The largest shift in levels: of the mean luma of any sixteenth of the picture, or of the mean of Cb or Cr."""
    luma = float(np.abs(_cells(plane(frame)) - _cells(expected.luma)).max())
    chroma = (abs(float(plane(frame, k).mean()) - mean) for k, mean in enumerate(expected.chroma, start=1))
    return max(luma, *chroma)


def _cells(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean luma of each cell of a grid over the picture; what does not divide evenly is left out at the far edges."""
    height, width = (max(1, side // _GRID) for side in luma.shape)
    rows, columns = (max(1, side // step) for side, step in zip(luma.shape, (height, width), strict=True))
    whole = luma[: rows * height, : columns * width].reshape(rows, height, columns, width)
    means: NDArray[np.float64] = whole.mean(axis=(1, 3))
    return means
