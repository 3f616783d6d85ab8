"""A scene whose depth is known, and a window model that answers with it: true up to what a real model gets wrong.

The red channel of a picture is its disparity. The stub sees each window under a scale and shift of its own, chosen by a
hash of the window's number, as a relative model does; everything else (decoding, order, alignment, fading) is real.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from episoded.processors.depth.windows import window_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZE = (36, 48)


def picture(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A textured floor that recedes, with a ball that circles at a constant speed: (H, W, 3) uint8."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    floor = 40 + 120 * y / height + 4 * np.sin(x / 3 + number / 5)
    right, down = width / 2 + height / 4 * np.cos(number / 7), height / 2 + height / 4 * np.sin(number / 7)
    ball = (x - right) ** 2 + (y - down) ** 2 < (height / 5) ** 2
    red = np.where(ball, 205, floor).round().astype(np.uint8)
    return np.ascontiguousarray(np.stack([red, 255 - red, red // 2], axis=2))


def truth(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    return disparity(picture(number, size))


def disparity(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    return rgb[..., 0].astype(np.float32) / np.float32(32)


def affine_of(window: int) -> tuple[float, float]:
    """What the stub does to window `window`: scale 0.6 to 1.6, shift 0 to 2."""
    digest = hashlib.sha256(f"window {window}".encode()).digest()
    return 0.6 + digest[0] / 255, 2 * digest[1] / 255


def window_of(window: int, pictures: Sequence[NDArray[np.uint8]], noise: float = 0.0) -> NDArray[np.float32]:
    """What the stub answers: (32, H, W) float32."""
    scale, shift = affine_of(window)
    maps = scale * np.stack([disparity(rgb) for rgb in pictures]) + shift
    if noise:
        grain = np.random.default_rng(window).standard_normal(maps.shape)
        maps = maps * (1 + noise * grain)
    return maps.astype(np.float32)


def windows_of(frames: int, window: int, noise: float = 0.0) -> NDArray[np.float32]:
    return window_of(window, [picture(number) for number in window_frames(window, frames)], noise)
