"""A small simulated robot: a two-link arm that fetches a ball, seen by cameras that are not quite quiet.

Made to be encoded, not admired: a fixed camera before a textured wall and one that moves with the gripper, both with
sensor noise, come to about the bytes per frame of real table-top recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

JOINTS: Final = ("shoulder.pos", "elbow.pos", "gripper.pos")
_LINKS: Final = (0.27, 0.24)  # lengths, of the picture's height
_PAD: Final = 48  # pixels by which the gripper's camera and the noise wander
_NOISE: Final = 0.8  # standard deviation in levels of 0..255
_COLOURS: Final = ((62, 84, 120), (214, 120, 46), (196, 52, 60))


@dataclass(frozen=True, slots=True)
class Step:
    """One control step: `state` and `action` (3,) float32 in rad (the gripper 0..1), pictures (H, W, 3) by camera."""

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    pictures: dict[str, NDArray[np.uint8]]


class Scene:
    """The arm and its cameras. The same arguments give the same pixels, on every machine with the same numpy.

    `cameras`: names; every second one moves with the gripper. `size`: (height, width) in pixels.
    """

    def __init__(self, cameras: Sequence[str], size: tuple[int, int], seed: int = 0) -> None:
        self.cameras, self.size, self.seed = tuple(cameras), size, seed
        rng = np.random.default_rng((seed, *size))
        padded = (size[0] + 2 * _PAD, size[1] + 2 * _PAD)
        self._walls = {camera: _texture(rng, padded) for camera in cameras}
        self._noise = np.rint(rng.normal(0, _NOISE, (*padded, 3))).astype(np.int16)

    def episode(self, index: int, frames: int, fps: float) -> Iterator[Step]:
        """The steps of episode `index`: `frames` of them, `fps` per second."""
        rng = np.random.default_rng((self.seed, 1, index))
        path = _motion(rng, frames + 1, fps)
        ball = rng.uniform(0.62, 0.8)  # where it lies, of the picture's width
        for frame in range(frames):
            yield Step(path[frame], path[frame + 1], self._look(path[frame], ball, rng))

    def _look(self, state: NDArray[np.float32], ball: float, rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
        height, width = self.size
        points = _reach(state, height, width)
        lift = max(0.0, float(state[2]) - 0.5) * 2
        grasped = (1 - lift) * np.array([ball * width, 0.84 * height]) + lift * points[2]
        pictures = {}
        for number, camera in enumerate(self.cameras):
            shift = np.zeros(2) if number % 2 == 0 else np.clip((points[2] - points[1]) * 0.5, -_PAD, _PAD)
            x, y = (_PAD + np.rint(shift)).astype(int)
            picture = self._walls[camera][y : y + height, x : x + width].astype(np.int16)
            for colour, start, end, radius in (
                (_COLOURS[2], grasped, grasped, 0.045),
                (_COLOURS[0], points[0], points[1], 0.05),
                (_COLOURS[1], points[1], points[2], 0.038),
            ):
                _capsule(picture, start - shift, end - shift, radius * height, colour)
            dx, dy = rng.integers(0, 2 * _PAD, 2)
            picture += self._noise[dy : dy + height, dx : dx + width]
            pictures[camera] = np.clip(picture, 0, 255).astype(np.uint8)
        return pictures


def _motion(rng: np.random.Generator, steps: int, fps: float) -> NDArray[np.float32]:
    """Joint angles (steps, 3): out to the ball and back, never at quite the same pace."""
    time = np.arange(steps) / fps
    pace, phase = rng.uniform(0.8, 1.3, 2), rng.uniform(0, 0.6, 2)
    shoulder = -1.15 + 0.45 * np.sin(pace[0] * time * 1.9 + phase[0])
    elbow = 1.1 + 0.5 * np.sin(pace[1] * time * 2.6 + phase[1])
    gripper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(steps) / max(steps - 1, 1))
    return np.stack([shoulder, elbow, gripper], axis=1).astype(np.float32)


def _reach(state: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.float64], ...]:
    """Base, elbow and gripper in pixels (x, y)."""
    points = [np.array([0.35 * width, 0.88 * height])]
    angle = 0.0
    for length, joint in zip(_LINKS, state[:2], strict=True):
        angle += float(joint)
        points.append(points[-1] + 1.6 * length * height * np.array([np.cos(angle), np.sin(angle)]))
    return tuple(points)


def _capsule(
    picture: NDArray[np.int16],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    colour: tuple[int, int, int],
) -> None:
    """Draw a shaded bar with round ends from `start` to `end` (x, y); only its own neighbourhood is touched."""
    height, width, _ = picture.shape
    low = np.floor(np.minimum(start, end) - radius).astype(int).clip(0, (width, height))
    high = np.ceil(np.maximum(start, end) + radius + 1).astype(int).clip(0, (width, height))
    if (high <= low).any():
        return
    x, y = np.meshgrid(np.arange(low[0], high[0]) - start[0], np.arange(low[1], high[1]) - start[1])
    along = end - start
    length2 = max(float(along @ along), 1e-9)
    part = np.clip((x * along[0] + y * along[1]) / length2, 0, 1)
    distance = np.hypot(x - part * along[0], y - part * along[1]) / radius
    inside = distance < 1
    shade = (1.1 - 0.5 * distance[inside] ** 2)[:, np.newaxis]
    picture[low[1] : high[1], low[0] : high[0]][inside] = (shade * np.array(colour)).astype(np.int16)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A wall (H, W, 3) with detail at every scale: noise whose amplitude falls with the spatial frequency."""
    rows, columns = np.fft.fftfreq(size[0])[:, np.newaxis], np.fft.rfftfreq(size[1])[np.newaxis]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 2 / max(size)) ** 1.6
    shared = np.fft.irfft2(np.fft.rfft2(rng.normal(size=size)) * falloff, size)
    base, contrast = rng.uniform(105, 160) + rng.uniform(-18, 18, 3), rng.uniform(24, 36)
    wall = base + contrast * (shared / shared.std())[..., np.newaxis]
    levels: NDArray[np.uint8] = np.clip(wall, 0, 255).astype(np.uint8)
    return levels
