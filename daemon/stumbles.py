"""Episodes whose jobs ended without a word on disk: nothing but this memory keeps them from being begun again at once.

That is what happens where not even a failure can be written (a disk too full for it), or where no worker can start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from .supervisor import Ending

#: Seconds that an episode rests after a job that left no record of how it ended; doubled each time, up to the cap.
STUMBLE_S: Final = 1.0
STUMBLE_CAP_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class _Stumble:
    """How often in a row an episode's jobs ended without a word, and until when it rests."""

    count: int
    until: float
    reason: str


class Stumbles:
    """Which episodes rest, by control directory, and why."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[Path, _Stumble] = {}

    def ended(self, ending: Ending) -> None:
        """A job ended: with a word on disk all is forgiven, without one the episode rests longer each time."""
        path = ending.job.work.control.path
        if not _is_wordless(ending):
            self._known.pop(path, None)
            return
        count = self._known[path].count + 1 if path in self._known else 1
        pause_s = min(STUMBLE_S * 2.0 ** (count - 1), STUMBLE_CAP_S)
        self._known[path] = _Stumble(count, self._clock() + pause_s, ending.reason or ending.ended)

    def resting(self) -> set[Path]:
        """Those that are not begun now."""
        return {path for path, stumble in self._known.items() if self._clock() < stumble.until}

    def ends(self) -> list[float]:
        """When each has rested long enough, on the clock."""
        return [stumble.until for stumble in self._known.values()]

    def keep(self, paths: Container[Path]) -> dict[str, str]:
        """Forget all but these; why each of them rests."""
        self._known = {path: stumble for path, stumble in self._known.items() if path in paths}
        return {str(path): stumble.reason for path, stumble in self._known.items()}


def _is_wordless(ending: Ending) -> bool:
    """Whether a job did not end well, and no marker says so."""
    if ending.ended not in ("error", "died", "lost", "vanished"):
        return False
    try:
        markers = ending.job.work.control.markers()
    except OSError:
        return True
    return markers.outcome is None and not markers.final
