"""The exports of a depth video, fed while it is being made.

They run in a thread of their own behind the one that checks what was written: by the time the last map is there, all
but a few frames of the preview are.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Self

from ..media import ffv1
from .in_order import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from .exports import Export
    from .in_order import Signs
    from .source import Frames

    Samples = NDArray[np.uint16]

_WAITING = 8  # frames


class Exporting:
    """A context manager. After `finish` the files of all `exports` are complete; left by an exception, they are gone.

    `make`: the exports; called when the first frame is there, in the thread. `frames`: the pictures that some want.
    `signs`: of life, see `InOrder`.
    """

    def __init__(self, make: Callable[[], list[Export]], frames: Frames, threads: int, signs: Signs) -> None:
        self.exports: list[Export] = []
        self._make, self._frames, self._threads, self._signs = make, frames, threads, signs
        self._stack = ExitStack()
        self._pictures: Iterator[NDArray[np.uint8]] | None = None
        self._thread: InOrder[Callable[[], None]] = InOrder(lambda step: step(), _WAITING, "export", signs)

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._thread.__exit__(kind, error, traceback)
        finally:
            self._stack.__exit__(kind, error, traceback)

    def begin(self, earlier: Sequence[Path]) -> None:
        """Begin with the frames of segments that an earlier attempt has made, if there are any."""
        self._thread.put(lambda: self._begin(earlier))

    def show(self, samples: Samples) -> None:
        """The next frame of the depth video; waits where too many do, and raises what went wrong with one before."""
        self._thread.put(lambda: self._add(samples))

    def finish(self, check: Callable[[], None]) -> None:
        """Wait until everything that was shown is in the files, and complete them. `check` may raise."""
        self._thread.put(self._stack.close, check)
        self._thread.finish(check)

    def _begin(self, earlier: Sequence[Path]) -> None:
        for segment in earlier:
            for samples in ffv1.read(segment, self._threads):
                self._add(samples)
                self._signs.give()

    def _add(self, samples: Samples) -> None:
        if not self.exports:
            self.exports = [self._stack.enter_context(export) for export in self._make()]
            if any(export.wants_pictures for export in self.exports):
                self._pictures = self._stack.enter_context(closing(self._frames.read()))  # type: ignore[type-var]
        picture = next(self._pictures) if self._pictures is not None else None
        for export in self.exports:
            export.add(samples, picture)
