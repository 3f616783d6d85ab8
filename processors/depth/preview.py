"""A video for people: the camera's picture, and beside it the depth in colours. Nobody should compute with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from av.video.frame import VideoFrame

from ..media.writer import Encoding, VideoWriter
from .codes import DisparityCodes
from .video_export import VideoExport

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from numpy.typing import NDArray

    from .description import Result

#: RGB of far to near, evenly spaced: dark blue, violet, red, orange, pale yellow. Each is brighter than the one before.
_COLOURS: Final = ((10, 10, 60), (90, 20, 130), (200, 50, 80), (250, 150, 40), (255, 250, 190))
_UNKNOWN: Final = (0, 0, 0)
#: The longer side of each half: a preview is looked at, not measured.
_SIDE: Final = 640
#: Shares of the known samples at which the colours end.
_ENDS: Final = (0.01, 0.99)


class Preview(VideoExport):
    """`NAME.webm` (`preview.webm` beside `depth.mkv`): VP9, picture on the left, depth on the right, near is bright.

    The colours span the same range in all frames, from the 1st to the 99th percentile of the whole video: what changes
    its colour has moved. Metric depth is coloured by its inverse, as a disparity would be.
    """

    wants_pictures = True

    def __init__(self, result: Result, target: PurePosixPath, scratch: Path, threads: int) -> None:
        name = "preview.webm" if target.stem == "depth" else f"{target.stem}.webm"
        self._target = target.with_name(name)
        self._path = scratch / "preview.webm"
        self._step = max(1, -(-max(result.size) // _SIDE))
        rows, columns = (len(range(0, side, self._step)) for side in result.size)
        self._rows, self._columns = max(2, rows // 2 * 2), max(2, columns // 2 * 2)
        self._palette = _palette(result)
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "g": "60", "row-mt": "1"}
        encoding = Encoding("libvpx-vp9", options, threads=threads)
        size = {"width": 2 * self._columns, "height": self._rows}
        self._writer = VideoWriter(self._path, encoding, rate=result.rate, container="webm", **size)

    def add(self, samples: NDArray[np.uint16], picture: NDArray[np.uint8] | None) -> None:
        """Encode one frame."""
        assert picture is not None
        halves = [self._half(picture), self._half(self._palette[samples])]
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(halves, axis=1)), format="rgb24")
        self._writer.write(frame.reformat(format="yuv420p"))

    def describe(self) -> dict[str, Any]:
        """Which file it is."""
        return {"preview": {"file": self._target.name}}

    def _half(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Every `step`-th pixel, repeated at the edge where an even side needs one more."""
        small = picture[:: self._step, :: self._step][: self._rows, : self._columns]
        missing = ((0, self._rows - small.shape[0]), (0, self._columns - small.shape[1]), (0, 0))
        padded: NDArray[np.uint8] = np.pad(small, missing, mode="edge")
        return padded


def _palette(result: Result) -> NDArray[np.uint8]:
    """The colour of each of the 65536 samples."""
    samples, tally = np.arange(65536, dtype=np.float64), result.tally
    low, high = (max(1.0, tally.percentile(share)) for share in _ENDS)
    if isinstance(result.codes, DisparityCodes):
        nearness, ends = samples, (low, high)
    else:
        nearness, ends = 1 / np.maximum(samples, 1), (1 / high, 1 / low)
    span = ends[1] - ends[0]
    share = np.clip((nearness - ends[0]) / (span if span > 0 else 1), 0, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(share, places, channel) for channel in np.array(_COLOURS, np.float64).T], axis=1)
    colours[0] = _UNKNOWN
    palette: NDArray[np.uint8] = np.rint(colours).astype(np.uint8)
    return palette
