"""Depth for tests without a model: a source whose maps are known, and episodes to try it on.

Like the real window model it gives several frames at a time, holds the last ones back, and goes on from a state.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import structlog

from episoded.processors.base import StageContext
from episoded.processors.depth.params import DepthParams
from episoded.processors.depth.source import Piece
from episoded.processors.depth.stage import DepthProcessor
from episoded.processors.episode import Camera, Episode
from episoded.processors.errors import RetryableError
from episoded.processors.media.writer import Encoding, VideoWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from episoded.processors.base import Artifact
    from episoded.processors.depth.codes import Kind
    from episoded.processors.depth.source import Frames, State

KEY = "observation.images.top"
SIZE = (48, 64)


def truth(picture: np.ndarray, number: int) -> np.ndarray:
    """The depth in metres that the source below gives for a picture: 1 m where it is black, 2.275 m where white."""
    depth = (1 + picture.mean(axis=2) / 200).astype(np.float32)
    depth[0, :4] = np.nan
    depth[1, :2] = 70.0  # further than millimetres in 16 bits reach
    depth[2, 0] = 0.1 + number / 1000  # says which frame it is
    return depth


@dataclass
class KnownDepth:
    """A `DepthSource`: `piece` frames at a time, each map a function of its picture and of a running sum in the state.

    `asked`: the frames that were really computed. `lose`, `wrong_size`: how it may misbehave;
    `fails_at`: a frame at which its GPU is lost.
    """

    kind: Kind = "metric_m"
    piece: int = 4
    lose: int = 0
    wrong_size: bool = False
    fails_at: int | None = None
    name: str = "known"
    facts: dict[str, Any] = field(default_factory=lambda: {"model": "known", "weights_sha256": "ab" * 32})
    asked: list[int] = field(default_factory=list)
    devices: tuple[str, ...] = ()
    closed: bool = False

    def maps(
        self, frames: Frames, state: State | None, devices: Any, check_cancelled: Callable[[], None], _threads: int = 1
    ) -> Iterator[Piece]:
        self.devices = tuple(devices)
        start = int(state["next"][0]) if state else 0
        digest = str(state["digest"][0]) if state else ""
        waiting: list[np.ndarray] = []
        try:
            for number, picture in enumerate(frames.read(start), start):
                check_cancelled()
                if number == self.fails_at:
                    raise RetryableError("gpu_lost", "cuda:0 is lost", "see the kernel log")
                self.asked.append(number)
                digest = hashlib.sha256(digest.encode() + picture.tobytes()).hexdigest()
                waiting.append(self._map(picture, number, digest))
                if len(waiting) == self.piece or number == frames.count - 1:
                    kept = waiting[: len(waiting) - self.lose] if number == frames.count - 1 else waiting
                    after = {"next": np.array([number + 1]), "digest": np.array([digest])}
                    facts = {"window": number // self.piece, "precision": "fp32", "seam": 1.5 if number > 4 else None}
                    yield Piece(kept, lambda after=after: after, facts)
                    waiting = []
        finally:
            self.closed = True

    def _map(self, picture: np.ndarray, number: int, digest: str) -> np.ndarray:
        depth = truth(picture, number)
        depth[3, 0] = int(digest[:4], 16) / 1e4 + 0.2  # only right when every frame before it was seen
        if self.kind == "disparity_relative":
            depth = np.nan_to_num(1 / depth, nan=0.0).astype(np.float32)
        return depth[:-1] if self.wrong_size else depth


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    height, width = size
    slope = np.linspace(0, 200, width)[None, :, None] + np.arange(height)[:, None, None] / 4 + number
    return np.clip(slope, 0, 255).astype(np.uint8).repeat(3, axis=2)


def write_video(path: Path, count: int, size: tuple[int, int] = SIZE, rate: Fraction = Fraction(30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    container = "matroska" if path.suffix == ".mkv" else "mp4"
    encoding = Encoding("libx264", {"crf": "10", "preset": "ultrafast"})
    with VideoWriter(path, encoding, width=size[1], height=size[0], rate=rate, container=container) as writer:
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            writer.write(frame.reformat(format="yuv420p"))
    return path


def episode(root: Path, count: int = 22) -> Episode:
    """An episode of one camera whose video is there."""
    video = PurePosixPath("videos/chunk-000", KEY, "episode_000000.mp4")
    write_video(root / video, count)
    return Episode(root, root, "episode_000000", 0, count, Fraction(30), (Camera(KEY, None, video),))


def context(of: Episode, scratch: Path, params: DepthParams, **more: Any) -> StageContext:
    scratch.mkdir(parents=True, exist_ok=True)
    return StageContext(of, scratch, params, structlog.get_logger(), **more)


def run(of: Episode, scratch: Path, **settings: Any) -> dict[str, Artifact]:
    """Run the stage on the episode's camera as a library does: artifacts by the name of their target."""
    more = {key: settings.pop(key) for key in ("parts", "progress", "cancelled", "devices") if key in settings}
    ctx = context(of, scratch, DepthParams(**settings), **more)
    processor = DepthProcessor()
    (unit,) = processor.units(of, ctx.params)
    return {artifact.target.name: artifact for artifact in processor.run(unit, ctx)}
