"""One depth camera of LeRobot's own kind (0.6 and later): its TIFF frames become codes in a lossless video.

The facts of the artifact are those of `camera.py`. Nothing is lost but what the codes lose (`media.lerobot_depth`):
every frame of the video is compared with its codes. Statistics are in the unit of the frames, mm or m, as LeRobot has
them.
"""

from __future__ import annotations

import time
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ..base import Artifact
from ..errors import InputError, RetryableError
from ..lerobot.picture_statistics import sample_indices, stride
from ..lerobot.statistics import quantiles_of
from ..media.lerobot_depth import DepthCodes, encoding, frame_of
from ..media.tiff import read_depth
from ..media.writer import VideoWriter
from .adopted import adopted
from .camera import frames_of
from .facts import common_facts, tick
from .verify import Expectation, verify

if TYPE_CHECKING:
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from ..base import StageContext
    from ..episode import Camera


def encode(camera: Camera, ctx: StageContext, path: Path) -> Artifact:
    """Encode the camera's frames to `path` and compare every one of them with what reads back.

    Raises `InputError` (`tiff_damaged`, `mixed_size`, `frame_count`), `EpisodedError` (`encoder_failed`) and
    `RetryableError` (`verify_failed`, and what the machine says).
    """
    started = time.perf_counter()
    paths, codes = frames_of(camera, ctx), DepthCodes.of_info(camera.depth_info or {})
    first = read_depth(paths[0])
    size = (first.shape[1], first.shape[0])
    statistics, counted = DepthStatistics(first), frozenset(sample_indices(len(paths)))
    sums: list[int] = []
    with VideoWriter(path, encoding(ctx.threads), width=size[0], height=size[1], rate=ctx.episode.fps) as writer:
        for index, name in enumerate(paths):
            ctx.check_cancelled()
            picture = _same_kind(read_depth(name, index), first, name, index)
            coded = codes.of_metres(picture) if picture.dtype.kind == "f" else codes.of_millimetres(picture)
            sums.append(zlib.crc32(coded.tobytes()))
            if index in counted:
                statistics.add(picture)
            writer.write(frame_of(coded))
            ctx.progress(index + 1, len(paths))
    written = time.perf_counter()
    _read_back(path, camera, ctx, sums, size)
    ended = time.perf_counter()
    facts = {
        **common_facts(path, camera, ctx, size),
        **dict.fromkeys(("psnr_db", "sibling")),
        "encoder": {"codec": "libx265", "lossless": True, "library": writer.library, "av": av.__version__},
        "duplicates": sum(one == other for one, other in pairwise(sums)),
        "constant": len(sums) > 1 and len(set(sums)) == 1,
        "bytes_in": sum(name.stat().st_size for name in paths),
        "seconds": round(ended - started, 3),
        "seconds_verify": round(ended - written, 3),
        **statistics.facts(),
        "alpha_dropped": False,
        "adopted": False,
    }
    return Artifact(path, camera.video, facts)


def adopt(camera: Camera, ctx: StageContext, existing: Path, scratch: Path) -> Artifact:
    """Take the depth video that lies there; as `adopted`.

    Its statistics are those of what the codes stand for, in the camera's unit.
    """
    codes, metres = DepthCodes.of_info(camera.depth_info or {}), (camera.depth_info or {}).get("depth_unit") == "m"
    statistics = DepthStatistics(np.zeros(0, np.float32 if metres else np.uint16))

    def look(frame: VideoFrame) -> None:
        coded = _codes_of(frame, existing)
        statistics.add(codes.to_metres(coded) if metres else codes.to_millimetres(coded))

    return adopted(camera, ctx, existing, scratch, look, statistics.facts)


class DepthStatistics:
    """Adds up sampled frames as `compute_episode_stats` of lerobot 0.6.1 samples them: one channel, in their own unit.

    Quantiles are of values rounded to the millimetre.
    """

    def __init__(self, like: NDArray[Any]) -> None:
        self._per_mm = 1000.0 if like.dtype.kind == "f" else 1.0
        self._counts = np.zeros(65536, np.int64)
        self._frames = self._pixels = 0
        self._sum = self._squares = 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, picture: NDArray[Any]) -> None:
        """Count one sampled frame (H, W)."""
        step = stride(picture.shape[1], picture.shape[0])
        values = np.nan_to_num(picture[::step, ::step].astype(np.float64).ravel(), posinf=0.0, neginf=0.0)
        levels = np.rint(values * self._per_mm).clip(0, 65535).astype(np.int64)
        self._counts += np.bincount(levels, minlength=65536)
        self._frames += 1
        self._pixels += len(values)
        self._sum += float(values.sum())
        self._squares += float((values**2).sum())
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def facts(self) -> dict[str, Any]:
        """`image_stats` and `image_quantiles`, each value (1, 1, 1)."""
        mean = self._sum / self._pixels
        moments = {
            "min": self._low,
            "max": self._high,
            "mean": mean,
            "std": float(np.sqrt(max(self._squares / self._pixels - mean**2, 0.0))),
        }
        seen = np.flatnonzero(self._counts)
        quantiles = quantiles_of(seen.astype(np.float64) / self._per_mm, self._counts[seen])
        return {
            "image_stats": {**{name: [[[value]]] for name, value in moments.items()}, "count": [self._frames]},
            "image_quantiles": {name: [[[value]]] for name, value in quantiles.items()},
        }


def _same_kind(picture: NDArray[Any], first: NDArray[Any], path: Path, index: int) -> NDArray[Any]:
    if (picture.shape, picture.dtype) != (first.shape, first.dtype):
        raise InputError(
            "mixed_size",
            f"frame {index} ({path}) is {picture.shape[1]}x{picture.shape[0]} {picture.dtype}, "
            f"the first is {first.shape[1]}x{first.shape[0]} {first.dtype}",
            "the frames of an episode are of one size: record it again, or upload the right frame; then retry",
        )
    return picture


def _read_back(path: Path, camera: Camera, ctx: StageContext, sums: list[int], size: tuple[int, int]) -> None:
    def compare(index: int, frame: VideoFrame) -> None:
        tick(ctx)(index, frame)
        if zlib.crc32(_codes_of(frame, path).tobytes()) != sums[index]:
            raise InputError("video_damaged", f"frame {index} is not the one that was written", "")

    try:
        expected = Expectation(camera.key, len(sums), ctx.episode.fps, size)
        verify(path, expected, threads=ctx.threads, on_frame=compare)
    except InputError as error:  # the file is ours: not the input is wrong but what became of it
        raise RetryableError(
            "verify_failed",
            f"{camera.key}: the video just written does not read back: {error.message}",
            "nothing was removed; if it happens again, check the disk and the memory of this machine",
        ) from error


def _codes_of(frame: VideoFrame, path: Path) -> Any:
    """(H, W) uint16."""
    if frame.format.name != "gray12le":
        raise InputError(
            "depth_format",
            f"{path} is {frame.format.name}, a depth video of LeRobot is gray12le",
            "restore this video, or the TIFF frames it was made from; then retry",
        )
    codes: Any = frame.to_ndarray()
    return codes
