"""What came out of the demonstration, looked at with fresh eyes: nothing of this trusts what the daemon reported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..control import CONTROL
from ..errors import EpisodedError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Facts:
    """Frames over all cameras, sizes in bytes, luma PSNR in dB of the worst sampled frame."""

    frames: int
    videos: int
    bytes_before: int
    bytes_after: int
    worst_psnr_db: float


def verify(dataset: Path, recorded: int) -> Facts:
    """Decode every video and count; read the quality reports.

    Raises EpisodedError (`demo_failed`) when a frame is missing, or when a PNG still lies there.
    """
    from episoded.processors.media.video import frames

    videos = sorted((dataset / "videos").rglob("*.mp4"))
    found = sum(1 for video in videos for _ in frames(video))
    if found != recorded:
        raise _wrong(dataset, f"{recorded} frames were recorded, the videos hold {found}")
    if left := sum(1 for _ in dataset.rglob("*.png")):
        raise _wrong(dataset, f"{left} PNGs were not removed although all is ready")
    reports = [json.loads(path.read_bytes()) for path in sorted((dataset / CONTROL).glob("*/quality.json"))]
    cameras = [camera for report in reports for camera in report["cameras"]]
    if sum(camera["frames_found"] for camera in cameras) != recorded:
        raise _wrong(dataset, "the quality reports do not count the frames that were recorded")
    return Facts(
        frames=found,
        videos=len(videos),
        bytes_before=sum(report["bytes_before"] for report in reports),
        bytes_after=sum(video.stat().st_size for video in videos),
        worst_psnr_db=min(camera["psnr_db"]["min"] for camera in cameras),
    )


def _wrong(dataset: Path, what: str) -> EpisodedError:
    return EpisodedError("demo_failed", f"{dataset}: {what}", "this must not happen: please report it")
