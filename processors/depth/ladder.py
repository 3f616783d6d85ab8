"""Which way a camera gets its depth: the first of the pipeline's ways that is possible, and why the others were not.

Never a silent mix: what was chosen, and what was passed over, is recorded with the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import EpisodedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import StageContext
    from ..episode import Camera
    from .params import DepthParams
    from .source import DepthSource, Frames


class NotPossible(Exception):  # noqa: N818 - no error: there are other ways
    """A way that this camera does not have, in words."""


@dataclass(frozen=True)
class Choice:
    """What makes the depth of a camera (None: nothing), and each way that was looked at: JSON values."""

    source: DepthSource | None
    ladder: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Case:
    """One camera with everything that a way may ask for. `frames`: what its depth would be made from."""

    camera: Camera
    frames: Frames
    params: DepthParams
    ctx: StageContext


def choose(case: Case) -> Choice:
    """The first possible way. Raises EpisodedError (`depth_no_way`) when none of them is."""
    ladder: list[dict[str, Any]] = []
    for way in case.params.ways:
        if way == "none":
            return Choice(None, (*ladder, {"way": way, "taken": True}))
        try:
            source = WAYS[way](case)
        except NotPossible as reason:
            ladder.append({"way": way, "taken": False, "why": str(reason)})
        else:
            return Choice(source, (*ladder, {"way": way, "taken": True}))
    why = "; ".join(f"{rung['way']}: {rung['why']}" for rung in ladder)
    raise EpisodedError(
        "depth_no_way",
        f"{case.camera.key}: none of the ways to its depth is possible: {why}",
        'add another way to `ways` of the depth stage; with "none" at the end such cameras go without depth',
    )


def _video(case: Case) -> DepthSource:
    """Video-Depth-Anything: any video, consistent over time."""
    from .video_model import video_depth_anything

    params = case.params
    alignment = None if params.align == "auto" else params.align
    return video_depth_anything(
        params.model, params.weights, input_size=params.input_size, precision=params.precision, alignment=alignment
    )


WAYS: dict[str, Callable[[Case], DepthSource]] = {"video": _video}
