"""The frames of one camera: what its video promises, while the whole of it is decoded to know what it holds.

Which frames a video model looks at together depends on the last one, so the number of frames must be known, and headers
lie. But most tell the truth: work begins with what the packets promise, and the video is decoded beside it. Nothing is
published before both agree in every point; where they do not, the work begins anew with what was found.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ..errors import EpisodedError
from .background import Background
from .files import inputs
from .frames import PngFrames, look_at, promised, recorded
from .params import DepthParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from ..base import StageContext
    from ..episode import Camera
    from .frames import Part, VideoFrames

    CameraFrames = VideoFrames | PngFrames


class PromiseBroken(Exception):  # noqa: N818 - no error: the work begins anew
    """The video holds something else than it promised."""


class Counting:
    """A context manager: it ends the decoding. `frames`: what there is by all that is known so far."""

    def __init__(self, camera: Camera, ctx: StageContext) -> None:
        self._camera, self._ctx = camera, ctx
        self._counting: Background[VideoFrames] | None = None

    def __enter__(self) -> Self:
        assert isinstance(self._ctx.params, DepthParams)
        paths = inputs(self._ctx.episode, self._camera, self._ctx.params)
        if self._camera.frames is not None and paths == self._camera.frames.paths:
            self.frames: CameraFrames = PngFrames.of(paths, self._ctx.episode.fps)  # each is a file: nothing to count
            return self
        self._path = paths[0]
        self._counting = Background(self._count, 1, "count")
        try:
            self.frames = recorded(self._camera, self._ctx.episode, self._path, self._promised)
        except EpisodedError:
            self.frames = self._counted(0)  # raises what is really wrong
        except BaseException:
            self._counting.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._counting is not None:
            self._counting.close()

    def look(self) -> None:
        """Raise what `settle` raises, if it is known already."""
        if self._counting is not None and self._counting.ready:
            self.settle()

    def settle(self, made: int = 0) -> None:
        """Wait until the video is decoded, with `made` frames made.

        Raises what was wrong with the video, and `PromiseBroken`: see `frames` again.
        """
        before = self.frames
        if self._counting is not None:
            self.frames = self._counted(made)
        if self.frames != before:
            raise PromiseBroken

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Around work on `frames`: an error in it may come from a promise that was broken. Raises as `settle`."""
        try:
            yield
        except EpisodedError:
            self.settle()
            raise
        self.settle(self.frames.count)

    def _counted(self, made: int) -> CameraFrames:
        assert self._counting is not None
        counting, self._counting = self._counting, None

        def alive() -> None:
            self._ctx.check_cancelled()
            if not counting.ready:  # else it is no waiting, and other work is told of
                self._ctx.progress(made, made)

        with counting:
            return next(counting.take(alive))

    def _promised(self, path: Path, part: Part | None) -> VideoFrames:
        return promised(path, self._ctx.threads, part)

    def _count(self, check: Callable[[], None]) -> Iterator[VideoFrames]:
        yield count(self._camera, self._ctx, self._path, check)


def count(camera: Camera, ctx: StageContext, path: Path, check: Callable[[], None]) -> VideoFrames:
    """The frames of a camera's video, every one decoded; `check` is called for each. Raises as `frames.recorded`."""

    def look(path: Path, part: Part | None) -> VideoFrames:
        return look_at(path, ctx.threads, lambda _: check(), part)

    return recorded(camera, ctx.episode, path, look)
