"""What is said of any video of an episode, while it is read back and once it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..media import video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from av.video.frame import VideoFrame

    from ..base import StageContext
    from ..episode import Camera


def tick(ctx: StageContext) -> Callable[[int, VideoFrame], None]:
    """Signs of life while a video is read back: the frames were all counted before, so the bar stands full."""

    def tick(_index: int, _frame: VideoFrame) -> None:
        ctx.check_cancelled()
        ctx.progress(ctx.episode.length, ctx.episode.length)

    return tick


def common_facts(path: Path, camera: Camera, ctx: StageContext, size: tuple[int, int]) -> dict[str, Any]:
    """What is known of any video of an episode; `size` is (width, height)."""
    info = video.probe(path)
    width, height = size
    return {
        "frames": ctx.episode.length,
        "width": width,
        "height": height,
        "fps": str(ctx.episode.fps),
        "codec": info.codec,
        "pix_fmt": info.pix_fmt,
        "bytes_out": path.stat().st_size,
        "stale_frames": len(camera.frames.stale) if camera.frames is not None else 0,
        "declared_shape": list(camera.shape) if camera.shape not in (None, (height, width)) else None,
    }
