"""Forked children: everything is imported once, and what is done in one is gone with it."""

from __future__ import annotations

import os
import signal
import traceback
from typing import TYPE_CHECKING

from episoded.daemon import crashpoints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def in_child(task: Callable[[], object]) -> int:
    """How a forked child ended that did the task."""
    if (pid := os.fork()) == 0:
        try:
            task()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(number: int, root: Path, task: Callable[[Path], object]) -> bool:
    """Whether a child was killed at this crashpoint of the task on `root`; it may have had fewer."""

    def die() -> None:
        crashpoints.crashpoint.at = str(number)
        task(root)

    return in_child(die) == -signal.SIGKILL
