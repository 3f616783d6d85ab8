"""The process that works for one destination, seen from the service: start it, hear it, end it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from episoded.processors.destinations import environment

from ..supervisor import DEATH_S, no_interrupts
from . import desk

if TYPE_CHECKING:
    from pathlib import Path

    from .jobs import Job, Moving, Outcome
    from .settings import DestinationConfig


#: Seconds for a process that let go of its connection to be gone by itself, so that its own exit code is heard.
DYING_S: Final = 0.1
_CHILD: Final = "episoded.daemon.publisher.child"


class Process:
    """A child for one destination; started when there is something to do, ended by SIGKILL, which is always safe."""

    def __init__(self, config: DestinationConfig, state_dir: Path, level: str) -> None:
        self._config, self._state_dir, self._level = config, state_dir, level
        self._process: subprocess.Popen[bytes] | None = None
        self.connection: Connection | None = None

    def send(self, job: Job, *, without_xet: bool) -> None:
        """Give it a job; raises OSError when it died meanwhile."""
        if self._process is None or self._process.poll() is not None:
            self.kill()
            self._start(without_xet=without_xet)
        assert self.connection is not None
        self.connection.send(job)

    def hear(self) -> list[Moving | Outcome]:
        """What it said since the last call. Raises EOFError or OSError when it is gone."""
        said = []
        while self.connection is not None and self.connection.poll():
            said.append(self.connection.recv())
        return said

    def kill(self) -> str:
        """End it now; how it ended, in words."""
        code: int | None = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(DYING_S)
            if code is None:
                self._process.kill()
                with suppress(subprocess.TimeoutExpired):
                    code = self._process.wait(DEATH_S)
        if self.connection is not None:
            self.connection.close()
        self._process = self.connection = None
        return f"its process ended with {code}"

    def _start(self, *, without_xet: bool) -> None:
        """From the main thread: the death signal fires when the spawning thread ends."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno()), str(os.getpid()), self._level]
        command.append(str(self._state_dir))
        folder = desk.folder(self._state_dir) / self._config.name
        own = environment(self._config.kind, self._config.params, folder, without_xet=without_xet)
        with no_interrupts():
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env={**os.environ, **own}
            )
        theirs.close()
        self.connection = Connection(ours.detach())
