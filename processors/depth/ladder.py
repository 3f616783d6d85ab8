"""Which way a camera gets its depth: the first of the pipeline's ways that is possible, and why the others were not.

Never a silent mix: what was chosen, and what was passed over, is recorded with the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError
from .files import calibration_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..episode import Camera, Episode
    from .params import DepthParams
    from .source import DepthSource, Frames
    from .tracking import Intrinsics

#: The nearest depth that is looked for, in distances between the eyes; a narrow pair on a wrist looks at its fingers.
_NEAREST_BASELINES: Final = 2.2


class NotPossible(Exception):  # noqa: N818 - no error: there are other ways
    """A way that this camera does not have, in words."""


@dataclass(frozen=True)
class Way:
    """A source of depth, and the frames that its maps belong to: of a stereo pair, those of the left eye.

    `intrinsics`: of those frames, where the way had to know them.
    """

    source: DepthSource
    frames: Frames
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True)
class Choice:
    """What makes the depth of a camera (None: nothing), and each way that was looked at: JSON values."""

    way: Way | None
    ladder: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Case:
    """One camera with everything that a way may ask for.

    `frames`: its pictures. `frames_of(camera)`: those of another camera of the episode. `devices`: to compute on.
    """

    camera: Camera
    frames: Frames
    params: DepthParams
    episode: Episode
    frames_of: Callable[[Camera], Frames]
    devices: Sequence[str] = ("cpu",)

    @property
    def shows_both_eyes(self) -> bool:
        """Whether each of its pictures is two."""
        from .stereo_pairs import is_side_by_side

        return is_side_by_side(self.camera.key, self.frames.height, self.frames.width, self.params.side_by_side)


def choose(case: Case) -> Choice:
    """The first possible way.

    Raises EpisodedError: `depth_no_way` when none of them is, `gpu_unusable`, and what opening the chosen source
    raises: a model that is missing is not passed over.
    """
    ladder: list[dict[str, Any]] = []
    for name in case.params.ways:
        if name == "none":
            return Choice(None, (*ladder, {"way": name, "taken": True}))
        try:
            way = WAYS[name](case)
        except NotPossible as reason:
            ladder.append({"way": name, "taken": False, "why": str(reason)})
        else:
            return Choice(way, (*ladder, {"way": name, "taken": True}))
    why = "; ".join(f"{rung['way']}: {rung['why']}" for rung in ladder)
    raise EpisodedError(
        "depth_no_way",
        f"{case.camera.key}: none of the ways to its depth is possible: {why}",
        'add another way to `ways` of the depth stage; with "none" at the end such cameras go without depth',
    )


def _video(case: Case) -> Way:
    """Video-Depth-Anything: any video, consistent over time."""
    from .video_model import video_depth_anything

    _check_devices(case.devices)
    params = case.params
    alignment = None if params.align == "auto" else params.align
    source = video_depth_anything(
        params.model, params.weights, input_size=params.input_size, precision=params.precision, alignment=alignment
    )
    return Way(source, _one_eye(case))


def _frame(case: Case) -> Way:
    """A model that sees each frame by itself: sharp, but what it says of a thing may jump from frame to frame."""
    from .per_frame import per_frame_model

    _check_devices(case.devices)
    assert case.params.frame_model is not None
    return Way(per_frame_model(case.params.frame_model), _one_eye(case))


def _stereo(case: Case) -> Way:
    """Two lenses whose calibration is known: metric, and no model guesses anything."""
    from .stereo import NEAREST_M, StereoSource, read_calibration
    from .stereo_pairs import LeftEye, SideBySide, TwoVideos

    params, frames = case.params, case.frames
    calibration = params.calibration or calibration_of(case.episode, case.camera)
    if calibration is None:
        raise NotPossible("no calibration is configured, and no earlier stage has made one")
    pairs: SideBySide | TwoVideos
    if other := params.right.get(case.camera.key):
        camera = next((camera for camera in case.episode.cameras if camera.key == other), None)
        if camera is None:
            raise NotPossible(f"there is no camera {other} to its right")
        pairs = TwoVideos(frames, case.frames_of(camera))
    elif case.shows_both_eyes:
        pairs = SideBySide(frames)
    else:
        raise NotPossible(
            "its pictures are not two side by side (`side_by_side` says which are), and `right` names no second camera"
        )
    known = read_calibration(calibration)
    nearest_m = min(NEAREST_M, _NEAREST_BASELINES * known.baseline_m)
    return Way(StereoSource(pairs, known, nearest_m), LeftEye(pairs), known.intrinsics(pairs.height, pairs.width))


def _one_eye(case: Case) -> Frames:
    """What a model looks at: of a stereo camera's video that shows both eyes, the left one."""
    from .stereo_pairs import LeftEye, SideBySide

    known = case.camera.stereo is not None or case.params.side_by_side != "auto"  # else a panorama would lose its half
    return LeftEye(SideBySide(case.frames)) if known and case.shows_both_eyes else case.frames


def _check_devices(devices: Sequence[str]) -> None:
    """No torch, or one that cannot use the GPU that the driver shows: said before a model is loaded.

    Raises EpisodedError: `extra_missing`, `gpu_unusable`.
    """
    try:
        import torch
    except ImportError as error:
        raise EpisodedError(
            "extra_missing", f"torch cannot be imported: {error}", "pip install 'episoded[depth]', then retry"
        ) from error
    if any(device.startswith("cuda") for device in devices) and not torch.cuda.is_available():
        raise EpisodedError(
            "gpu_unusable",
            f"torch {torch.__version__} cannot use the GPU of this machine",
            "install a build of torch for its driver (`episoded doctor` says more), or set [workers] gpus = 0",
        )


WAYS: dict[str, Callable[[Case], Way]] = {"stereo": _stereo, "video": _video, "frame": _frame}
