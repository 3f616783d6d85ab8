"""A video for people: the camera's picture, and beside it the depth in colours. Nobody should compute with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from av.video.frame import VideoFrame

from ..media.writer import Encoding, VideoWriter
from .codes import DisparityCodes
from .tally import Tally
from .video_export import VideoExport

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath
    from types import TracebackType

    from numpy.typing import NDArray

    from .codes import Codes
    from .video_export import Stored

#: RGB of far to near, evenly spaced: dark blue, violet, red, orange, pale yellow. Each is brighter than the one before.
_COLOURS: Final = ((10, 10, 60), (90, 20, 130), (200, 50, 80), (250, 150, 40), (255, 250, 190))
_UNKNOWN: Final = (0, 0, 0)
#: The longer side of each half: a preview is looked at, not measured.
_SIDE: Final = 640
#: The frames by which the range of colours is chosen. They wait for it: so many halves at the size of the preview.
_CHOOSING: Final = 32
#: Shares of their known samples that span most of the colours; what is nearer has the brightest ones.
_ENDS: Final = (0.01, 0.99)
_MOST: Final = 0.85


class Preview(VideoExport):
    """`NAME.webm` (`preview.webm` beside `depth.mkv`): VP9, picture on the left, depth on the right, near is bright.

    A depth has the same colour in all frames: what changes its colour has moved. The range is that of the first frames,
    because the video is made while later ones are still computed; what comes nearer is brighter still. Metric depth is
    coloured by its inverse, as a disparity would be.
    """

    wants_pictures = True

    def __init__(self, stored: Stored, target: PurePosixPath, scratch: Path, threads: int) -> None:
        name = "preview.webm" if target.stem == "depth" else f"{target.stem}.webm"
        self._target = target.with_name(name)
        self._path = scratch / "preview.webm"
        self._codes = stored.codes
        self._step = max(1, -(-max(stored.size) // _SIDE))
        rows, columns = (len(range(0, side, self._step)) for side in stored.size)
        self._rows, self._columns = max(2, rows // 2 * 2), max(2, columns // 2 * 2)
        self._waiting: list[tuple[NDArray[np.uint16], NDArray[np.uint8]]] = []
        self._palette: NDArray[np.uint8] | None = None
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "g": "60", "row-mt": "1"}
        encoding = Encoding("libvpx-vp9", options, threads=threads)
        size = {"width": 2 * self._columns, "height": self._rows}
        self._writer = VideoWriter(self._path, encoding, rate=stored.rate, container="webm", **size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._waiting:
                self._choose()
        finally:
            super().__exit__(kind, error, traceback)

    def add(self, samples: NDArray[np.uint16], picture: NDArray[np.uint8] | None) -> None:
        """Encode one frame, or keep it until there are enough to choose the colours by."""
        assert picture is not None
        depth, colour = self._half(samples), self._half(picture)
        if self._palette is not None:
            self._encode(depth, colour, self._palette)
            return
        self._waiting.append((depth, colour))
        if len(self._waiting) == _CHOOSING:
            self._choose()

    def _choose(self) -> None:
        """The colours, and all frames that have waited for them."""
        tally = Tally()
        for depth, _ in self._waiting:
            tally.add(depth, 0)
        self._palette = _palette(tally, self._codes)
        for depth, colour in self._waiting:
            self._encode(depth, colour, self._palette)
        self._waiting = []

    def _encode(self, depth: NDArray[np.uint16], colour: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
        both = np.ascontiguousarray(np.concatenate([colour, np.take(palette, depth, axis=0)], axis=1))
        self._writer.write(VideoFrame.from_ndarray(both, format="rgb24").reformat(format="yuv420p"))

    def describe(self) -> dict[str, Any]:
        """Which file it is."""
        return {"preview": {"file": self._target.name}}

    def _half(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Every `step`-th pixel, repeated at the edge where an even side needs one more: a copy."""
        small = picture[:: self._step, :: self._step][: self._rows, : self._columns]
        missing = [(0, self._rows - small.shape[0]), (0, self._columns - small.shape[1]), (0, 0)]
        return np.pad(small, missing[: picture.ndim], mode="edge")


def _palette(tally: Tally, codes: Codes) -> NDArray[np.uint8]:
    """The colour of each of the 65536 samples, (65536, 3) RGB."""
    samples = np.arange(65536, dtype=np.float64)
    low, high = (max(1.0, tally.percentile(share)) for share in _ENDS)
    if isinstance(codes, DisparityCodes):
        nearness, ends = samples, (low, high)
    else:
        nearness, ends = 1 / np.maximum(samples, 1), (1 / high, 1 / low)
    span = ends[1] - ends[0]
    share = np.maximum((nearness - ends[0]) / (span if span > 0 else 1), 0)
    bright = np.where(share <= 1, _MOST * share, 1 - (1 - _MOST) / np.maximum(share, 1))
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(bright, places, channel) for channel in np.array(_COLOURS, np.float64).T], axis=1)
    colours[0] = _UNKNOWN
    palette: NDArray[np.uint8] = np.rint(colours).astype(np.uint8)
    return palette
