"""Named points between two durable steps, at which the tests have a process die or stop. Never armed in real life."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final


class _CrashPoints:
    """Armed by the environment.

    `EPISODED_CRASH_AT` is the number of a passage (1 = the first), or the name of a point (its first passage).
    `EPISODED_CRASH_SIGNAL`: what the process does to itself there (KILL, STOP). `EPISODED_CRASH_TRACE`: a file that
    collects the names passed.
    """

    def __init__(self) -> None:
        self.at = os.environ.get("EPISODED_CRASH_AT", "")
        self.signal = signal.Signals[f"SIG{os.environ.get('EPISODED_CRASH_SIGNAL', 'KILL')}"]
        self.trace = os.environ.get("EPISODED_CRASH_TRACE", "")
        self.passed = 0

    def __call__(self, name: str) -> None:
        if not (self.at or self.trace):
            return
        self.passed += 1
        if self.trace:
            with Path(self.trace).open("a") as trace:
                trace.write(name + "\n")
        if self.at in (name, str(self.passed)):
            self.at = ""  # stopped and continued, it goes on to its end
            os.kill(os.getpid(), self.signal)


crashpoint: Final = _CrashPoints()
