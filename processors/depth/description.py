"""What is said about a finished depth video: depth_meta.json, and the essentials of it inside the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av

from ..media import ffv1
from .files import sha256
from .frames import PngFrames
from .meta import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction
    from pathlib import Path

    from ..base import StageContext
    from .codes import Codes
    from .counting import CameraFrames
    from .segments import Segment
    from .tally import Tally


@dataclass(frozen=True)
class Result:
    """A depth video that was made, and what from. `frames`: as the source was read; `read_from`: file, kind, sha256.

    `codes`: how it stores depth; `tally`: the counts of all its frames. `first`: the frame of the source's video that
    is frame 0 here.
    """

    size: tuple[int, int]
    rate: Fraction
    rotation_deg: int
    times_s: Sequence[float] | None
    read_from: Mapping[str, Any]
    estimator: Mapping[str, Any]
    ladder: Sequence[Mapping[str, Any]]
    segments: Sequence[Segment]
    codes: Codes
    tally: Tally
    first: int = 0

    @property
    def crc32(self) -> list[int]:
        """Of each frame."""
        return [crc for segment in self.segments for crc in segment.crc32]

    @property
    def windows(self) -> list[dict[str, Any]]:
        """What the source said about its pieces."""
        return [facts for segment in self.segments for facts in segment.facts]


def describe_source(frames: CameraFrames, ctx: StageContext) -> dict[str, Any]:
    """Which file the depth is made from. Relative names: a dataset may be moved."""
    if isinstance(frames, PngFrames):
        return {"kind": "png", "folder": _relative(frames.paths[0].parent, ctx), "frames": frames.count}
    return {"kind": "video", "file": _relative(frames.path, ctx), "sha256": sha256(frames.path)}


def _relative(path: Path, ctx: StageContext) -> str:
    for root in (ctx.episode.output, ctx.episode.root):
        if path != root and path.is_relative_to(root):
            return str(path.relative_to(root))
    return path.name


def describe(result: Result, digest: str, size_bytes: int) -> dict[str, Any]:
    """depth_meta.json of a depth video with this sha256 and size; docs/depth.md describes every key."""
    height, width = result.size
    crc32 = result.crc32
    return {
        **head(result.read_from, result.ladder),
        "format": "ffv1",
        "encoding": ffv1.PIX_FMT,
        **result.codes.describe(),
        "invalid_value": 0,
        "width": width,
        "height": height,
        "fps": str(result.rate),
        "frame_count": len(crc32),
        "frame_index_offset": result.first,
        "rotation_deg": result.rotation_deg,
        "frame_times_s": None if result.times_s is None else list(result.times_s),
        "codec": {**ffv1.encoding(height, width).options, "av": av.__version__, "ffmpeg": av.ffmpeg_version_info},
        "estimator": dict(result.estimator),
        "statistics": result.tally.statistics(result.codes),
        "seam_ratio": seam_ratio(result.windows),
        "precision": _precisions(result.windows),
        "windows": result.windows,
        "sha256": digest,
        "bytes": size_bytes,
        "crc32": [f"{crc:08x}" for crc in crc32],
    }


def without_depth(read_from: Mapping[str, Any], ladder: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The description of a camera for which no way to depth was possible, and whose pipeline lets that pass."""
    return {**head(read_from, ladder), "kind": "no_depth", "frame_count": 0}


def head(read_from: Mapping[str, Any], ladder: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What every description begins with."""
    return {"schema": SCHEMA, "source": dict(read_from), "ladder": [dict(rung) for rung in ladder]}


def tags(result: Result) -> dict[str, str]:
    """What a depth video says about itself where its description got lost."""
    described = result.codes.describe()
    estimator = result.estimator
    words = {
        "DEPTH_KIND": described["kind"],
        "DEPTH_UNIT": described["depth_unit"],
        "DEPTH_DECODE": described["decode_formula"],
        "DEPTH_INVALID": "0",
        "DEPTH_RATE": str(result.rate),
        "DEPTH_MODEL": estimator.get("model") or estimator.get("method") or estimator.get("name", ""),
        "DEPTH_MODEL_SHA256": digest if isinstance(digest := estimator.get("weights_sha256"), str) else "",
    }
    if "disparity_reference" in described:
        words["DEPTH_REFERENCE"] = repr(described["disparity_reference"])
    return {name: str(value) for name, value in words.items() if value}


def seam_ratio(windows: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over the seams between windows of how much more changes there from frame to frame than elsewhere."""
    seams = [window["seam"] for window in windows if window.get("seam") is not None]
    return round(sum(seams) / len(seams), 4) if seams else None


def _precisions(windows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Precision -> windows that were computed in it."""
    found = [str(window["precision"]) for window in windows if "precision" in window]
    return {precision: found.count(precision) for precision in sorted(set(found))}
