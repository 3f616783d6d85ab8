"""Ask the destinations now, and wait for the answer: for commands, which have no loop that goes on meanwhile."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..state import State
from .inquiry import ASKED_AT_ONCE, PATIENCE_S, candidates
from .jobs import Job, Outcome, Trouble
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ..config import Config
    from ..scan import DropView
    from .jobs import Answer
    from .manifest import Item

#: Control directory -> the answers of all destinations of an episode, all of which have it.
Found = dict["Path", tuple["Answer", ...]]


def ask(
    views: Iterable[DropView],
    config: Config,
    asking: Callable[[str, int], None] = lambda *_: None,
    troubled: Callable[[str, Trouble], None] = lambda *_: None,
    patience_s: float = PATIENCE_S,
) -> Found:
    """The pending episodes that all their destinations have; a process for each, so that none can hang us.

    `asking(destination, episodes)` hears who is asked. `troubled(destination, trouble)`: it did not answer, so that
    nothing is found that goes there. One after the other: the next is asked about what the one before has.
    """
    waiting: dict[tuple[str, ...], dict[Path, Item]] = defaultdict(dict)
    for path, item, aims in candidates(views, config, (State.PENDING, State.ARRIVING)):
        waiting[aims][path] = item
    found: Found = {}
    for aims, items in waiting.items():
        answers: Found = dict.fromkeys(items, ())
        for name in aims:
            if not answers:
                break
            asking(name, len(answers))
            told = _ask_one(config, name, [items[path] for path in answers], patience_s)
            if isinstance(told, Trouble):
                troubled(name, told)
            has = {answer.control: answer for answer in told if answer.manifest} if isinstance(told, list) else {}
            answers = {path: (*before, has[path]) for path, before in answers.items() if path in has}
        found |= answers
    return found


def _ask_one(config: Config, name: str, items: Sequence[Item], patience_s: float) -> list[Answer] | Trouble:
    settings = config.destinations[name]
    process = Process(settings, config.service.state_dir, config.service.log_level)
    answers: list[Answer] = []
    try:
        for start in range(0, len(items), ASKED_AT_ONCE):
            job = Job("look", settings, tuple(items[start : start + ASKED_AT_ONCE]))
            process.send(job, without_xet=False)
            outcome = _outcome(process, patience_s)
            if outcome.trouble:
                return outcome.trouble
            answers += outcome.answers
    except (EOFError, OSError) as error:
        return Trouble("transient", "process_died", f"the process that asks {name} ended: {error}")
    finally:
        process.kill()
    return answers


def _outcome(process: Process, patience_s: float) -> Outcome:
    """What it says in the end; a trouble of ours where it says nothing for too long."""
    while process.connection is not None and process.connection.poll(patience_s):
        for said in process.hear():
            if isinstance(said, Outcome):
                return said
    return Outcome(trouble=Trouble("transient", "silent", f"no answer for {patience_s:.0f} s"))
