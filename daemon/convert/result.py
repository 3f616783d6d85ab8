"""What a conversion says on the way, and what it has come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is said on the way: `progress(what, done, total)` of "examine" (frames) and "write" (files).

    `stop()`: whether to give up; what is finished is kept.
    """

    progress: Callable[[str, int, int], None] = lambda *_: None
    stop: Callable[[], bool] = lambda: False


#: Nobody watches, nobody stops it.
UNWATCHED: Final = Hooks()


@dataclass
class Result:
    """What a pass has come to. `left`: (episode, why) of those that could not be converted yet.

    `made` and `kept`: files of rows and video. `encoded`: episodes of a camera that had to be encoded anew. `wrong`:
    what keeps LeRobot from reading the result, which it then has from its source; `notes`: what should be seen.
    """

    source: str
    output: str
    from_version: str
    to_version: str
    episodes: int = 0
    frames: int = 0
    examined: int = 0
    made: int = 0
    kept: int = 0
    encoded: int = 0
    carried: int = 0
    bytes: int = 0
    seconds: float = 0.0
    left: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
