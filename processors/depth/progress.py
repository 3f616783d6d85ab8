"""What a worker tells while the depth of a camera is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..base import StageContext


class Written:
    """Tells how many frames are written and, while a slow model is at work on the next ones, again and again.

    A CPU may take longer for the 32 frames of a window than a worker may be silent.
    """

    def __init__(self, ctx: StageContext, done: int, total: int) -> None:
        self._ctx, self._done, self._total = ctx, done, total

    def __call__(self, done: int) -> None:
        """So many frames are written."""
        self._done = done
        self._ctx.progress(done, self._total)

    def check(self) -> None:
        """A sign of life for each frame that is computed. Raises Cancelled."""
        self._ctx.check_cancelled()
        self._ctx.progress(self._done, self._total)
