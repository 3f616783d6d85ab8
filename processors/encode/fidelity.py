"""How well a decoded frame shows what its PNG held.

Two measures, taken against luma and tint that are computed from the PNG's own RGB values here, independently of the
converter that fed the encoder: PSNR of the luma, and the shift of the mean of each plane. The first finds damaged and
misplaced frames; the second finds a wrong matrix, a wrong range or swapped colours, which cost surprisingly little
PSNR (28.6 dB for full-range values in a limited-range stream). Chroma is compared by its mean only, because 4:2:0
keeps a quarter of it: a noisy colour camera would otherwise fail with a faultless video.

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
LARGEST_TINT = 4.0  # levels; encoders stay below 1

_WEIGHTS = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


@dataclass(frozen=True, slots=True)
class Reference:
    """What a frame should decode to: luma (H, W) uint8, and the mean of Y, Cb and Cr in levels."""

    luma: NDArray[np.uint8]
    means: tuple[float, float, float]


def reference(rgb: NDArray[np.uint8], *, full_range: bool = False) -> Reference:
    """The luma and tint of one frame (H, W, 3) in BT.601, limited range unless `full_range`."""
    luma_scale, luma_offset, chroma_scale = (1.0, 0.0, 1.0) if full_range else (219 / 255, 16.0, 224 / 255)
    luma = rgb @ (_WEIGHTS[0] * luma_scale).astype(np.float32) + np.float32(luma_offset + 0.5)
    y, cb, cr = _WEIGHTS @ rgb.mean(axis=(0, 1), dtype=np.float64)
    means = (y * luma_scale + luma_offset, cb * chroma_scale + 128, cr * chroma_scale + 128)
    return Reference(luma.astype(np.uint8), means)


def psnr(expected: Reference, frame: VideoFrame) -> float:
    """Luma PSNR of a decoded planar YUV frame in dB, at most 100."""
    difference = plane(frame).astype(np.int32) - expected.luma
    error = float(np.mean(difference * difference))
    return min(IDENTICAL_DB, 10 * math.log10(255**2 / error)) if error else IDENTICAL_DB


def tint(expected: Reference, frame: VideoFrame) -> float:
    """The largest shift of the mean of Y, Cb or Cr, in levels."""
    return max(abs(float(plane(frame, k).mean()) - mean) for k, mean in enumerate(expected.means))
