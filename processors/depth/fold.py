"""The fold: windows in, one depth map for each frame out, in order, with constant memory.

It keeps ten maps at the camera's size, whatever the length of the video: the first frame's, the one at position 12 of
the last window, and the last eight, which the next window is cross-faded with. Between two windows its whole state can
be taken out as arrays and put into another fold, which then gives the same bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .align import IDENTITY, Affine, Alignment, fit
from .resize import Resize
from .windows import ANCHORS, CARRIED, FADE, KEYFRAME, STEP, WINDOW, window_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

_SAMPLED = slice(None, None, 4)  # of rows and columns, to measure how much changes from frame to frame


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """How one window was brought into line.

    `scale`, `shift`: applied to its depth, in units of the map. `kept`: no fit could be trusted, they are those of the
    window before. `precision`: what it was computed in. `seam`: mean change from frame to frame in the cross-fade,
    relative to the median in the rest of the window; 1 is seamless, None where there is no cross-fade or no change.
    """

    window: int
    scale: float
    shift: float
    kept: bool
    precision: str
    seam: float | None

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


class Fold:
    """Aligns, cross-fades and puts in order the windows of one video.

    `frames`: of the video, as decoded. `size`: (height, width) of the maps that come out, the camera's own.
    """

    def __init__(self, frames: int, size: tuple[int, int], alignment: Alignment) -> None:
        self.frames, self.size, self.alignment = frames, size, alignment
        self.windows = window_count(frames)
        self.next = 0  # the window that it waits for
        self.record: WindowRecord | None = None  # of the last window that was taken whole
        self._busy = False
        self._affine = IDENTITY
        self._first = np.zeros(size, np.float32)
        self._key = np.zeros(size, np.float32)
        self._tail = np.zeros((FADE, *size), np.float32)
        self._resize: Resize | None = None

    @property
    def done(self) -> bool:
        """Every frame has come out."""
        return self.next == self.windows

    def add(
        self, window: int, maps: NDArray[np.float32], precision: str = "fp32"
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Take the next window, and give the frames that are final with it.

        `maps`: (32, h, w) float32, finite, at the model's size. The iterator gives (frame number, (H, W) float32 not
        below 0), and must be exhausted before the next window or `state`. The maps that it gives are the caller's.
        """
        if self._busy or window != self.next or window >= self.windows:
            raise ValueError(f"window {window} came while window {self.next} of {self.windows} was due")
        if maps.ndim != 3 or len(maps) != WINDOW:
            raise ValueError(f"a window is {WINDOW} maps, not {maps.shape}")
        self._busy = True
        return self._fold(window, maps, precision)

    def _fold(
        self, window: int, maps: NDArray[np.float32], precision: str
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        if self._resize is None or self._resize.source != maps.shape[1:]:
            self._resize = Resize((maps.shape[1], maps.shape[2]), self.size)
        if window == 0:
            self._first = self._resize(maps[0])
        fitted = IDENTITY if window == 0 else self._fit(maps)
        self._affine = fitted or self._affine
        changes = _Changes()
        for position, values in self._final(window, maps):
            if (number := STEP * window + position) < self.frames:
                changes.add(position, values)
                yield number, values
        seam = changes.seam() if window else None
        self.next += 1
        if self.done:
            yield from self._rest(window)
        self.record = WindowRecord(window, *self._affine, fitted is None, precision, seam)
        self._busy = False

    def _fit(self, maps: NDArray[np.float32]) -> Affine | None:
        assert self._resize is not None
        if self.alignment == "none":
            return IDENTITY
        ours = np.stack([self._resize(maps[position]) for position in range(ANCHORS)])
        return fit(self.alignment, ours, np.stack([self._first, self._key]))

    def _final(self, window: int, maps: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The positions that no later window changes, each with its map; the others go into the tail."""
        tail = self._tail.copy() if window else self._tail
        for position in range(ANCHORS if window else 0, WINDOW):
            values = self._aligned(maps[position])
            if position == KEYFRAME:
                self._key = values.copy()
            if window and position < CARRIED:
                values = _faded(tail[position - ANCHORS], values, position - ANCHORS)
            if position >= STEP + ANCHORS:
                self._tail[position - STEP - ANCHORS] = values
            else:
                yield position, values

    def _aligned(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._resize is not None
        return self._affine.apply(self._resize(values))

    def _rest(self, window: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for offset, values in enumerate(self._tail):
            if (number := STEP * (window + 1) + ANCHORS + offset) < self.frames:
                yield number, values.copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that the windows so far have left behind, as arrays that `numpy.savez` takes without pickling."""
        if self._busy:
            raise ValueError(f"window {self.next} is only half taken")
        return {
            "identity": np.array([str(self._identity)]),
            "next": np.array([self.next]),
            "affine": np.array(self._affine, np.float64),
            "first": self._first,
            "key": self._key,
            "tail": self._tail.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `state` was taken. It must be of the same video size, frame count and alignment (ValueError)."""
        if str(state["identity"][0]) != str(self._identity):
            raise ValueError(f"the state is of {state['identity'][0]}, not of {self._identity}")
        self.next = int(state["next"][0])
        self._affine = Affine(*(float(value) for value in state["affine"]))
        self._first, self._key, self._tail = (np.array(state[name], np.float32) for name in ("first", "key", "tail"))

    @property
    def _identity(self) -> tuple[int, int, int, str]:
        return (self.frames, *self.size, self.alignment)


class _Changes:
    """How much consecutive frames of one window differ: inside the cross-fade, and after it."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._fade: list[float] = []
        self._after: list[float] = []

    def add(self, position: int, values: NDArray[np.float32]) -> None:
        sampled = values[_SAMPLED, _SAMPLED].copy()
        if self._before is not None:
            change = float(np.mean(np.abs(sampled - self._before), dtype=np.float64))
            (self._fade if position < CARRIED else self._after).append(change)
        self._before = sampled

    def seam(self) -> float | None:
        usual = float(np.median(self._after)) if self._after else 0.0
        return float(np.mean(self._fade)) / usual if self._fade and usual > 0 else None


def _faded(old: NDArray[np.float32], new: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """The cross-fade at `step` 0 (all old) to 7 (all new); overwrites both."""
    weight = np.float32(step / (FADE - 1))
    old *= np.float32(1) - weight
    new *= weight
    new += old
    return new
