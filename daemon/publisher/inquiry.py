"""Whether the very result of an episode is at its destinations already: asked before it is processed.

Asked once for many episodes, by the processes of the destinations, while the loop goes on. Who does not answer is not
waited for: then episodes are processed, which costs work and nothing else.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from ..state import State
from .manifest import Item, dataset_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from ..config import Config, Pipeline
    from ..scan import DatasetView, DropView
    from ..state import Markers
    from .jobs import Answer

#: Episodes in one question: the first answer is there soon, and a Hub takes five hundred names at once.
ASKED_AT_ONCE: Final = 200
#: Seconds without a word for which episodes wait for an answer; then they are processed.
PATIENCE_S: Final = 60.0
#: Seconds for which "it is not there" holds, for an episode that was not begun meanwhile.
KEPT_S: Final = 600.0


class Inquiry:
    """What was asked about pending episodes, and answered. `troubled(name)`: a destination will not answer now."""

    def __init__(
        self, config: Config, troubled: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._troubled = troubled
        self._clock = clock
        self._asked: dict[Path, tuple[Item, tuple[str, ...]]] = {}
        self._answers: dict[tuple[Path, str], tuple[Answer, float]] = {}
        self._other: set[Path] = set()
        self._silent_since: dict[str, float] = {}

    def take_in(self, views: Iterable[DropView]) -> None:
        """A fresh scan: whom to ask about."""
        self._asked = {path: (item, aims) for path, item, aims in candidates(views, self._config)}
        self._answers = {key: answer for key, answer in self._answers.items() if key[0] in self._asked}
        self._other &= self._asked.keys()
        for name in {name for _, aims in self._asked.values() for name in aims}:
            if self.questions(name):
                self._silent_since.setdefault(name, self._clock())
            else:
                self._silent_since.pop(name, None)

    def questions(self, name: str) -> tuple[Item, ...]:
        """The next episodes to ask a destination about, in the order of the scan."""
        found = []
        for path, (item, aims) in self._asked.items():
            if name in aims and not self._is_settled(path) and self._answer(path, name) is None:
                found.append(item)
                if len(found) == ASKED_AT_ONCE:
                    break
        return tuple(found)

    def heard(self, name: str, answers: Sequence[Answer]) -> None:
        """A destination has answered."""
        now = self._clock()
        self._answers |= {(answer.control, name): (answer, now) for answer in answers}
        if answers:
            self._silent_since[name] = now

    def other(self, path: Path) -> None:
        """What is at the destinations is not what would be made here."""
        self._other.add(path)

    def waits(self, path: Path) -> str:
        """Which destination's answer an episode waits for; "" when it may begin."""
        if path not in self._asked or self._is_settled(path):
            return ""
        return next((name for name in self._asked[path][1] if self._may_answer(path, name)), "")

    def found(self, path: Path) -> tuple[Answer, ...]:
        """The answers of all destinations, when all of them have the episode."""
        if path not in self._asked or path in self._other:
            return ()
        answers = [self._answer(path, name) for name in self._asked[path][1]]
        return tuple(answer for answer in answers if answer) if all(a and a.manifest for a in answers) else ()

    def look_again_s(self) -> float:
        """Seconds until nobody waits for a silent destination any more."""
        ends = [since + PATIENCE_S - self._clock() for since in self._silent_since.values()]
        return min((end for end in ends if end > 0), default=math.inf)

    def _is_settled(self, path: Path) -> bool:
        """Whether no further answer matters: one destination has it not, or it has another one."""
        answers = (self._answer(path, name) for name in self._asked[path][1])
        return path in self._other or any(answer and not answer.manifest for answer in answers)

    def _may_answer(self, path: Path, name: str) -> bool:
        if self._answer(path, name) or self._troubled(name):
            return False
        return self._clock() - self._silent_since.get(name, self._clock()) < PATIENCE_S

    def _answer(self, path: Path, name: str) -> Answer | None:
        answer, at = self._answers.get((path, name), (None, 0.0))
        if answer and not answer.manifest and self._clock() - at > KEPT_S:
            return None
        return answer


def candidates(
    views: Iterable[DropView], config: Config, states: Collection[State] = (State.PENDING,)
) -> Iterator[tuple[Path, Item, tuple[str, ...]]]:
    """The episodes that may be at their destinations already: control directory, episode, names of destinations."""
    for dataset in (dataset for view in views for dataset in view.datasets):
        aims = _askable(dataset, config.pipelines[dataset.drop.pipeline], config)
        name = dataset_name(dataset) if aims else ""  # once: there may be ten thousand episodes
        for episode in dataset.episodes if aims else ():
            if episode.state in states and _is_untouched(episode.markers):
                item = Item(name, dataset.root, dataset.output, episode.id, dataset.format.name)
                yield episode.control.path, item, aims


def _askable(dataset: DatasetView, pipeline: Pipeline, config: Config) -> tuple[str, ...]:
    """The destinations of a dataset's episodes, when all can be asked.

    Not of a dataset whose episodes share files: these are made from what lies here. Not where a place depends on how
    many episodes were there before (`{shard}`, `{chunk}`): which one it is, only lost manifests know.
    """
    used = [config.destinations[name] for name in pipeline.destinations]
    may = dataset.format.standalone and all(one.remote_check and not one.sharded for one in used)
    return pipeline.destinations if may else ()


def _is_untouched(markers: Markers) -> bool:
    """Nothing was made of it here, and nobody said that it shall be made here (`retry`)."""
    return not (markers.stages_done or markers.retried_at)
