"""Whether the very result of an episode is at its destinations already: asked before it is processed.

Asked once for many episodes, by the processes of the destinations, while the loop goes on. Who does not answer is not
waited for: then episodes are processed, which costs work and nothing else.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field
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
    from .settings import DestinationConfig

#: Episodes in one question: the first answer is there soon, and a Hub takes five hundred names at once.
ASKED_AT_ONCE: Final = 200
#: Seconds without a word for which episodes wait for an answer; then they are processed.
PATIENCE_S: Final = 60.0
#: Seconds for which "it is not there" holds, for an episode that was not begun meanwhile.
KEPT_S: Final = 600.0


@dataclass(slots=True)
class _Case:
    """One pending episode: its destinations, what they answered and when (clock). `other`: they have another one."""

    item: Item
    aims: tuple[str, ...]
    answers: dict[str, tuple[Answer, float]] = field(default_factory=dict)
    other: bool = False

    @property
    def settled(self) -> bool:
        """Whether no further answer matters: one destination has it not, or it has another one."""
        return self.other or any(not answer.manifest for answer, _ in self.answers.values())

    def forget_before(self, at: float) -> None:
        """Ask again what was not there so long ago."""
        old = [name for name, (answer, when) in self.answers.items() if not answer.manifest and when < at]
        for name in old:
            del self.answers[name]


class Inquiry:
    """What was asked about pending episodes, and answered. `troubled(name)`: a destination will not answer now."""

    def __init__(
        self, config: Config, troubled: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._troubled = troubled
        self._clock = clock
        self._cases: dict[Path, _Case] = {}
        #: Destination -> whom it is still to be asked about. Kept, for it is looked at whenever a job ends.
        self._open: dict[str, dict[Path, Item]] = {}
        self._silent_since: dict[str, float] = {}

    def take_in(self, views: Iterable[DropView]) -> None:
        """A fresh scan: whom to ask about."""
        before, self._cases, self._open = self._cases, {}, {}
        old = self._clock() - KEPT_S
        for path, item, aims in candidates(views, self._config):
            known = before.get(path)
            self._cases[path] = case = known if known and known.aims == aims else _Case(item, aims)
            case.forget_before(old)
            for name in () if case.settled else aims:
                if name not in case.answers:
                    self._open.setdefault(name, {})[path] = item
        self._silent_since = {name: self._silent_since.get(name, self._clock()) for name in self._open}

    def questions(self, name: str) -> tuple[Item, ...]:
        """The next episodes to ask a destination about, in the order of the scan."""
        return tuple(itertools.islice(self._open.get(name, {}).values(), ASKED_AT_ONCE))

    def heard(self, name: str, answers: Sequence[Answer]) -> None:
        """A destination has answered."""
        now = self._clock()
        for answer in answers:
            if case := self._cases.get(answer.control):
                case.answers[name] = answer, now
                self._close(answer.control, *(case.aims if case.settled else [name]))
        if answers and name in self._silent_since:
            self._silent_since[name] = now

    def other(self, path: Path) -> None:
        """What is at the destinations is not what would be made here."""
        if case := self._cases.get(path):
            case.other = True
            self._close(path, *case.aims)

    def waits(self, path: Path) -> str:
        """Which destination's answer an episode waits for; "" when it may begin."""
        case = self._cases.get(path)
        if case is None or case.settled:
            return ""
        return next((name for name in case.aims if name not in case.answers and self._may_answer(name)), "")

    def found(self, path: Path) -> tuple[Answer, ...]:
        """The answers of all destinations, when all of them have the episode."""
        case = self._cases.get(path)
        if case is None or case.settled or len(case.answers) < len(case.aims):
            return ()
        return tuple(answer for answer, _ in case.answers.values())

    def look_again_s(self) -> float:
        """Seconds until nobody waits for a silent destination any more."""
        ends = [since + PATIENCE_S - self._clock() for since in self._silent_since.values()]
        return min((end for end in ends if end > 0), default=math.inf)

    def _close(self, path: Path, *names: str) -> None:
        for name in names:
            self._open.get(name, {}).pop(path, None)

    def _may_answer(self, name: str) -> bool:
        now = self._clock()
        return not self._troubled(name) and now - self._silent_since.get(name, now) < PATIENCE_S


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

    Not of a dataset whose episodes share files: these are made from what lies here.
    """
    used = [config.destinations[name] for name in pipeline.destinations]
    may = dataset.format.standalone and all(one.remote_check and _is_searchable(one) for one in used)
    return pipeline.destinations if may else ()


def _is_searchable(destination: DestinationConfig) -> bool:
    """Of several places only a Hub tells which one is the last."""
    return destination.kind == "huggingface" or "{shard}" not in destination.params.template


def _is_untouched(markers: Markers) -> bool:
    """Nothing was made of it here, and nobody said that it shall be made here (`retry`)."""
    return not (markers.stages_done or markers.retried_at)
