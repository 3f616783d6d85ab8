"""A video that a camera has already: decoded whole, compared with what its episode says, and taken as it is."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from ..base import Artifact
from ..lerobot.picture_statistics import sample_indices
from .facts import common_facts, tick
from .verify import Expectation, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from av.video.frame import VideoFrame

    from ..base import StageContext
    from ..episode import Camera


def adopted(
    camera: Camera,
    ctx: StageContext,
    existing: Path,
    scratch: Path,
    look: Callable[[VideoFrame], None],
    statistics: Callable[[], dict[str, Any]],
) -> Artifact:
    """Take the video that lies there, once it has been decoded whole and fits the episode.

    One that lies in the received dataset only, with the output elsewhere, is copied to `scratch`. `look` is shown the
    frames that statistics are sampled from; `statistics()` gives the facts of them. Raises as `verify`.
    """
    started = time.perf_counter()
    counted = frozenset(sample_indices(ctx.episode.length))
    alive = tick(ctx)

    def on_frame(index: int, frame: VideoFrame) -> None:
        alive(index, frame)
        if index in counted:
            look(frame)

    expected = Expectation(camera.key, ctx.episode.length, ctx.episode.fps, start=camera.start)
    verified = verify(existing, expected, threads=ctx.threads, on_frame=on_frame)
    path = existing
    if existing != ctx.episode.output / camera.video:
        path = scratch
        shutil.copyfile(existing, scratch)
    seconds = round(time.perf_counter() - started, 3)
    facts = {
        **common_facts(path, camera, ctx, verified.size),
        **dict.fromkeys(("encoder", "psnr_db", "duplicates", "constant", "bytes_in", "sibling")),
        "seconds": seconds,
        "seconds_verify": seconds,
        **statistics(),
        "alpha_dropped": False,
        "adopted": True,
    }
    return Artifact(path, camera.video, facts)
