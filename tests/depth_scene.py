"""A scene whose depth is known, and a window model that answers with it: true up to what a real model gets wrong.

The red channel of a picture is its disparity. The stub sees each window under a scale and shift of its own, chosen by a
hash of the window's number, as a relative model does; everything else (decoding, order, alignment, fading) is real.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from episoded.processors.depth.windows import window_frames
from episoded.processors.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from episoded.processors.depth.model import Precision

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


@dataclass(frozen=True)
class SceneFrames:
    """The frames of the scene, made when they are asked for."""

    count: int
    height: int = SIZE[0]
    width: int = SIZE[1]

    def read(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        for number in range(start, self.count):
            yield picture(number, (self.height, self.width))


@dataclass(frozen=True)
class SceneSpec:
    """Loads the stub. `slow_s`: the longest that a window takes, by the hash of its number: they come out of order.

    `kill`: a folder; a window whose number is the name of a file there kills its process, and takes the file with it.
    `deadly`: a window that kills every process.
    `lost`: a device that is lost after three windows; `deadly_on`: one that kills its process at the same place.
    `seen`: a folder, in which a file tells of each process what it was told to compute on.
    `half_fails`: windows that are not finite in half precision, which is coarser everywhere.
    """

    noise: float = 0.0
    slow_s: float = 0.0
    kill: Path | None = None
    deadly: int | None = None
    half_fails: Collection[int] | None = None
    always_fails: bool = False
    lost: str | None = None
    deadly_on: str | None = None
    seen: Path | None = None

    def load(self, device: str, _threads: int = 1) -> SceneModel:
        return SceneModel(self, device)


class SceneModel:
    """What `WindowModel` asks for, with the scene's truth for depth."""

    def __init__(self, spec: SceneSpec, device: str) -> None:
        self.spec, self.device = spec, device
        self.precision: Precision = "fp32" if spec.half_fails is None and not spec.always_fails else "fp16"
        self.encoded = self.computed = 0
        if spec.seen is not None:
            (spec.seen / f"{os.getpid()}").write_text(f"{device} of {os.environ.get('CUDA_VISIBLE_DEVICES')}")

    def features(self, pictures: Iterable[NDArray[np.uint8]], precision: Precision = "fp32") -> list[Any]:
        found = [(rgb, precision) for rgb in pictures]
        self.encoded += len(found)
        return found

    def maps(
        self, window: int, features: Sequence[Any], check: Callable[[], None], precision: Precision
    ) -> NDArray[np.float32]:
        check()
        self.computed += 1
        if self.computed > 3 and self.device == self.spec.deadly_on:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.computed > 3 and self.device == self.spec.lost:
            raise RetryableError("gpu_lost", f"{self.device} is lost", "see the kernel log")
        assert {of_them for _, of_them in features} == {precision}
        if self.spec.slow_s:
            time.sleep(self.spec.slow_s * affine_of(window)[1] / 2)
        if self.spec.kill is not None:
            with suppress(FileNotFoundError):
                (self.spec.kill / str(window)).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        if window == self.spec.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        maps = window_of(window, [rgb for rgb, _ in features], self.spec.noise)
        half = precision == "fp16"
        if self.spec.always_fails or (half and window in (self.spec.half_fails or ())):
            maps[7, 3, 2] = np.nan
        return maps.astype(np.float16).astype(np.float32) if half else maps

    def take_events(self) -> list[dict[str, Any]]:
        return []
