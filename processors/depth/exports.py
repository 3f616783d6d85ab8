"""What is made of a depth video besides: a preview for people, 16-bit PNGs, LeRobot's own depth video."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import av
from av.video.frame import VideoFrame

from ..base import Artifact
from ..errors import EpisodedError
from ..media import lerobot_depth
from ..media.lerobot_depth import DepthCodes
from ..media.writer import VideoWriter
from .codes import MetricCodes
from .preview import Preview
from .video_export import Stored, VideoExport

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from .params import DepthParams

#: Not `.mp4`: LeRobot's recorder counts those below a dataset. It is one, by content.
LEROBOT_SUFFIX: Final = "_lerobot.m4v"


class Export(Protocol):
    """One further output, fed with every frame in order; a context manager: left normally, its files are complete.

    `wants_pictures`: `add` is given the camera's picture as well.
    """

    wants_pictures: bool

    def add(self, samples: NDArray[np.uint16], picture: NDArray[np.uint8] | None) -> None:
        """The next frame: its depth samples (H, W) and, where it wants them, its picture (H, W, 3) RGB."""

    def __enter__(self) -> Any:
        """Open the files."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Complete the files, or close what is half made."""

    def artifacts(self) -> list[Artifact]:
        """What was made."""

    def describe(self) -> dict[str, Any]:
        """What depth_meta.json says about it, under its name."""


def exports_for(
    params: DepthParams, stored: Stored, target: PurePosixPath, scratch: Path, threads: int
) -> list[Export]:
    """The exports that a pipeline asks for; `target` is where the depth video goes, theirs lie beside it."""
    chosen: list[Export] = []
    if params.preview:
        chosen.append(Preview(stored, target, scratch, threads))
    if "png16" in params.export:
        chosen.append(Png16(target, scratch))
    if "lerobot" in params.export:
        chosen.append(LeRobotVideo(stored, target, scratch, threads))
    return chosen


def refuse_exports(params: DepthParams, *, metric: bool) -> None:
    """Raise EpisodedError (`depth_not_metric`) for an export that the depth is not good for, before it is made."""
    if "lerobot" in params.export and not metric:
        raise EpisodedError(
            "depth_not_metric",
            "LeRobot's depth videos are in millimetres, and this model gives relative disparity",
            "choose a metric model, set measured_scale, or leave lerobot out of `export`",
        )


class Png16:
    """A folder with one 16-bit gray PNG for each frame, `depth_000000.png`: the samples as they are."""

    wants_pictures = False

    def __init__(self, target: PurePosixPath, scratch: Path) -> None:
        self._target = target.with_name(f"{target.stem}_png16")
        self._folder = scratch / "png16"
        self._folder.mkdir(exist_ok=True)
        self._names: list[str] = []
        self._encoder: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, samples: NDArray[np.uint16], picture: NDArray[np.uint8] | None) -> None:  # noqa: ARG002
        """Write one file."""
        frame = VideoFrame.from_ndarray(samples, format="gray16le").reformat(format="gray16be")
        if self._encoder is None:
            self._encoder = av.CodecContext.create("png", "w")
            self._encoder.height, self._encoder.width = samples.shape
            self._encoder.pix_fmt = "gray16be"
            self._encoder.time_base = Fraction(1)
            self._encoder.thread_count = 1
        name = f"depth_{len(self._names):06d}.png"
        frame.pts = len(self._names)
        (packet,) = self._encoder.encode(frame)
        (self._folder / name).write_bytes(bytes(packet))
        self._names.append(name)

    def artifacts(self) -> list[Artifact]:
        """One for each frame."""
        return [Artifact(self._folder / name, self._target / name) for name in self._names]

    def describe(self) -> dict[str, Any]:
        """Where they lie."""
        return {"png16": {"folder": self._target.name, "frames": len(self._names), "samples": "as in the depth video"}}


class LeRobotVideo(VideoExport):
    """The same depth, which is metric, as LeRobot 0.6 and later reads it: 12-bit codes in HEVC."""

    wants_pictures = False

    def __init__(self, stored: Stored, target: PurePosixPath, scratch: Path, threads: int) -> None:
        codes = stored.codes
        assert isinstance(codes, MetricCodes)
        self._ours, self._codes = codes, DepthCodes()
        self._target = target.with_name(f"{target.stem}{LEROBOT_SUFFIX}")
        self._path = scratch / self._target.name
        (height, width), rate = stored.size, stored.rate
        self._size, self._rate = (height, width), rate
        encoding = lerobot_depth.encoding(threads)
        self._writer = VideoWriter(self._path, encoding, width=width, height=height, rate=rate)

    def add(self, samples: NDArray[np.uint16], picture: NDArray[np.uint8] | None) -> None:  # noqa: ARG002
        """Encode one frame."""
        codes = self._codes.of_millimetres(self._ours.millimetres(samples))
        self._writer.write(lerobot_depth.frame_of(codes))

    def describe(self) -> dict[str, Any]:
        """The file, and the feature that makes LeRobot load it once it lies at the feature's `video_path`."""
        height, width = self._size
        info = {
            "video.height": height,
            "video.width": width,
            "video.codec": "hevc",
            "video.pix_fmt": lerobot_depth.PIX_FMT,
            "video.fps": int(self._rate),
            "video.channels": 1,
            "has_audio": False,
            **self._codes.info(),
        }
        names = ["height", "width", "channels"]
        feature = {"dtype": "video", "shape": [height, width, 1], "names": names, "info": info}
        return {"lerobot": {"file": self._target.name, "feature": feature}}
