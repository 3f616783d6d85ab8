"""The frames that the benchmarks encode: real video decoded to PNGs as LeRobot writes them (Pillow, compress level 1).

Noise would flip the ranking of encoders, so a real recording is taken where one is at hand; the rendered scene for
everybody else has a smooth background, moving objects and a little sensor noise, and is named as such in the results.
"""

from __future__ import annotations

import os
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = (640, 480)
DATA = Path(os.environ.get("EPISODED_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CLIPS = {
    "robot": [f"reference/g1_v21/videos/chunk-000/observation.images.cam_high/episode_00000{k}.mp4" for k in range(3)],
    "street": ["depth_video/davis_rollercoaster.mp4"],
}


def prepare(folder: Path, clip: str, videos: int, frames: int) -> tuple[list[Path], str]:
    """Write `videos` folders of `frames` PNGs below `folder`; returns them and a description of the clip used."""
    files = [DATA / name for name in CLIPS.get(clip, ())]
    real = bool(files) and all(file.is_file() for file in files)
    pictures = _decoded(files) if real else _rendered()
    folders = []
    for video in range(videos):
        target = folder / f"camera{video}"
        target.mkdir(parents=True)
        for index, picture in enumerate(islice(pictures, frames)):
            mirrored = picture[:, ::-1] if video % 2 and clip == "street" else picture
            Image.fromarray(np.ascontiguousarray(mirrored)).save(target / f"frame_{index:06d}.png", compress_level=1)
        folders.append(target)
    return folders, f"{clip} (real)" if real else "rendered scene"


def _decoded(files: list[Path]) -> Iterator[np.ndarray]:
    """The pictures of all files, played forth and back for ever, at `SIZE`."""
    pictures = [picture for file in files for picture in _pictures(file)]
    return cycle(chain(pictures, pictures[-2:0:-1]))


def _pictures(file: Path) -> Iterator[np.ndarray]:
    with av.open(str(file)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(*SIZE, "rgb24", interpolation="AREA").to_ndarray()


def _rendered() -> Iterator[np.ndarray]:
    """A table with a few things moving on it, under sensor noise."""
    chance = np.random.default_rng(5)
    width, height = SIZE
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    table = np.stack([120 + 60 * np.sin(x / 97 + y / 61), 110 + 50 * np.sin(y / 83), 90 + x / 9], axis=2)
    for index in range(1 << 30):
        picture = table + chance.normal(0, 1.5, table.shape).astype(np.float32)
        for thing in range(4):
            at_x, at_y = 320 + 220 * np.sin(index / 31 + thing), 240 + 150 * np.cos(index / 23 + 2 * thing)
            inside = (x - at_x) ** 2 + (y - at_y) ** 2 < (30 + 10 * thing) ** 2
            picture[inside] = (200 - 40 * thing, 60 + 45 * thing, 40 * thing)
        yield np.clip(picture, 0, 255).astype(np.uint8)
