"""Computing windows on one device: decode ahead, keep the features of repeated frames, fall back to float32.

Ten of a window's 32 frames were in the window before, and the first frame of the video is in all of them. What the
encoder makes of a frame does not depend on its neighbours, so it is kept as long as a window of the span needs it: the
same numbers for 22 encoder runs instead of 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import EpisodedError
from .background import Background
from .model import Computed
from .windows import window_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from .model import Precision, WindowModel
    from .source import Frames
    from .windows import Span

    Picture = NDArray[np.uint8]

AHEAD = 24  # pictures decoded while the model is at work: those of the next window


class Ahead:
    """Reads frames in the background; a context manager.

    Frames are asked for by number. Going forward skips what lies between; going back begins anew.
    """

    def __init__(self, frames: Frames, ahead: int = AHEAD) -> None:
        self._frames = frames
        self._ahead = ahead
        self._next = 0
        self._background: Background[Picture] | None = None
        self._pictures: Iterator[Picture] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, number: int) -> Picture:
        """Frame `number`. Raises what reading it raised, and `EpisodedError` (`frames_changed`)."""
        if self._background is None or number < self._next:
            self._restart(number)
        for picture in self._pictures:
            self._next += 1
            if self._next > number:
                return picture
        self.close()
        raise _missing(number, self._frames)

    def close(self) -> None:
        """End the thread and close the file."""
        if self._background is not None:
            self._background.close()
        self._background = None

    def _restart(self, number: int) -> None:
        self.close()
        self._next = number
        self._background = Background(lambda _: self._frames.read(number), self._ahead, "decode")
        self._pictures = self._background.take()


class SpanRunner:
    """Computes spans of windows of one video on one model, one after another.

    Which precision a window has follows from the window alone: each is tried in the model's own, and computed again in
    float32 where that fails. Who computed what before has no part in it, so the bytes are the same for any number of
    processes; a window that fails costs both, which is a fifth more than float32 (vitl on an A100: 14 and 67 ms a
    frame, as its authors measured).
    """

    def __init__(self, model: WindowModel, frames: Frames, ahead: Ahead) -> None:
        self._model, self._frames, self._ahead = model, frames, ahead
        self._features: dict[tuple[int, Precision], Any] = {}
        self._pictures: dict[int, Picture] = {}  # kept only where float32 could be fallen back to

    def run(self, span: Span, check: Callable[[], None] = lambda: None) -> Iterator[Computed]:
        """The windows of the span in order; `check` is called for each frame and often between them, and may raise.

        Raises what reading and the model raise, and `EpisodedError` (`depth_not_finite`).
        """
        own = self._model.precision
        for window in range(span.start, span.stop):
            numbers = window_frames(window, self._frames.count)
            self._forget({0, *numbers})  # frame 0 is in every window, of later spans too
            maps, precision, fallback = self._maps(window, numbers, own, check), own, []
            if not _usable(maps) and own != "fp32":
                precision, fallback = "fp32", [{"event": "fp32_fallback", "from": own}]
                maps = self._maps(window, numbers, precision, check)
            if not np.isfinite(maps).all():
                raise _not_finite(numbers)
            yield Computed(window, maps, precision, [*self._model.take_events(), *fallback])

    def _forget(self, wanted: set[int]) -> None:
        """Everything but the features and pictures of the frames that are wanted."""
        self._features = {key: value for key, value in self._features.items() if key[0] in wanted}
        self._pictures = {number: value for number, value in self._pictures.items() if number in wanted}

    def _maps(
        self, window: int, numbers: Sequence[int], precision: Precision, check: Callable[[], None]
    ) -> NDArray[np.float32]:
        missing = sorted(number for number in set(numbers) if (number, precision) not in self._features)
        pictures = (self._picture(number, check) for number in missing)
        keys = [(number, precision) for number in missing]
        self._features.update(zip(keys, self._model.features(pictures, precision), strict=True))
        return self._model.maps(window, [self._features[number, precision] for number in numbers], check, precision)

    def _picture(self, number: int, check: Callable[[], None]) -> Picture:
        check()
        picture = self._pictures.get(number)
        if picture is None:
            picture = self._ahead[number]
            if self._model.precision != "fp32":
                self._pictures[number] = picture
        return picture


def _usable(maps: NDArray[np.float32]) -> bool:
    """Finite, and not all black: the two ways in which half precision fails."""
    return bool(np.isfinite(maps).all() and maps.max() > 0)


def _not_finite(numbers: Sequence[int]) -> EpisodedError:
    first, last = min(numbers[2:]), max(numbers)
    return EpisodedError(
        "depth_not_finite",
        f"the model gives no finite depth for frames {first} to {last}, although it computes in float32",
        "check the sha256 of its weights against the published file's, and the memory of this GPU; then retry",
    )


def _missing(number: int, frames: Frames) -> BaseException:
    return EpisodedError(
        "frames_changed",
        f"frame {number} of {frames.count} was not there when depth was made from it",
        "was the recording replaced meanwhile? then retry",
    )
