"""The pixels of a libav frame as arrays, without copying where it can be helped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.frame import VideoFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray


def plane(frame: VideoFrame, index: int = 0, channels: int = 1) -> NDArray[np.uint8]:
    """One plane of 8-bit samples as (H, W, channels), or (H, W) for one channel, without libav's row padding.

    A view: it keeps the frame's memory alive, and must not be written to.
    """
    source: Any = frame.planes[index]
    rows: NDArray[np.uint8] = np.frombuffer(source, np.uint8).reshape(source.height, source.line_size)
    samples = rows[:, : source.width * channels]
    return samples if channels == 1 else samples.reshape(source.height, source.width, channels)


def as_rgb24(frame: VideoFrame) -> VideoFrame | None:
    """A decoded PNG of 8 bits or less as RGB, exactly as Pillow's `convert("RGB")`: alpha dropped, not composited.

    The frame itself when it is RGB already; None for a pixel format that no such PNG decodes to.
    """
    match frame.format.name:
        case "rgb24":
            return frame
        case "rgba":
            rgb = plane(frame, channels=4)[..., :3]
        case "gray":
            rgb = _thrice(plane(frame))
        case "monob":
            rgb = _thrice(plane(frame.reformat(format="gray")))
        case "ya8":
            rgb = _thrice(plane(frame, channels=2)[..., 0])
        case "pal8":
            palette: Any = frame.planes[1]  # 256 x BGRA
            rgb = np.frombuffer(palette, np.uint8).reshape(256, 4)[plane(frame), 2::-1]
        case _:
            return None
    return VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")


def _thrice(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(gray[..., np.newaxis], 3, axis=2)
