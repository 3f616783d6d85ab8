"""A real daemon in a folder of its own: what the demonstration and the benchmarks run.

It is the installed service with its own configuration, state and drop folder, so that nothing of the machine's real
service is touched, and nothing of it is needed: no root, no network, no systemd.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from . import service_file
from .errors import EpisodedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

START_S: Final = 30.0
STOP_S: Final = 90.0
_POLL_S: Final = 0.02
#: Whoever looks on waits for it; nothing comes over a network that may stall for minutes.
RETRY_DELAY_S: Final = 1.0
INCOMPLETE_S: Final = 10.0
#: Less than the real default: a laptop with little space left should still be able to look at it.
_GUARD: Final = 'disk_low = "500 MB"\ndisk_high = "600 MB"\nmemory_low = "200 MB"'


class PrivateService:
    """`episoded run` as a child process below `folder`; a context manager that stops it.

    `drop` is its drop folder, `config` its configuration, `log` what it writes to stderr. It drains and stops when its
    parent dies, unless it was started to `outlive` it. `rescan_s`: where events alone are to be seen at work, a lot.
    `rule`: keys of the drop folder that are to be others.
    """

    def __init__(
        self, folder: Path, *, outlive: bool = False, rescan_s: float = 30.0, rule: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.drop = folder / "drop"
        self.state_dir = folder / "state"
        self.config = folder / "config.toml"
        self.log = folder / "daemon.log"
        self._outlive = outlive
        self._rescan_s = rescan_s
        self._rule = {"complete": "marker", **(rule or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Write the configuration, start the daemon and wait until it serves. Raises EpisodedError when it does not."""
        self.drop.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._settings(), encoding="utf-8")
        with self.log.open("ab") as log:
            # A session of its own: a Ctrl-C at the terminal is for us, and we stop the daemon in good order.
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_serving()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int:
        """Let it drain and end; its exit code. What does not end in time is killed."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def check(self) -> None:
        """Raise EpisodedError (`service_died`) with its last words when the daemon is no longer there."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise EpisodedError(
                "service_died", f"the daemon ended with status {code}: {self._last_words()}", f"read {self.log}"
            )

    def _wait_until_serving(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            report = service_file.hear(self.state_dir)
            if report and report.pid == self.pid:
                return
            time.sleep(_POLL_S)
        raise EpisodedError("service_slow", f"the daemon did not start within {START_S:.0f} s", f"read {self.log}")

    def _command(self) -> list[str]:
        serve = ["-P", "-m", "episoded.daemon", "run", "--config", str(self.config)]
        tie = [] if self._outlive else ["-P", "-m", "episoded.daemon.private", str(os.getpid())]
        return [sys.executable, *tie, *serve]

    def _settings(self) -> str:
        """config.toml; a JSON string is a TOML string."""
        return "\n".join(
            [
                "[service]",
                f"state_dir = {json.dumps(str(self.state_dir))}",
                f"rescan_s = {self._rescan_s:g}",
                "",
                "[workers]",
                f"retry_delay_s = {RETRY_DELAY_S:g}",
                "",
                "[guard]",
                _GUARD,
                "",
                "[[drop]]",
                f"path = {json.dumps(str(self.drop))}",
                *(f"{key} = {json.dumps(value)}" for key, value in self._rule.items()),
                f"incomplete_s = {INCOMPLETE_S:g}",
                "",
            ]
        )

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"


def _tied_to(parent: int, command: list[str]) -> None:
    """Become `python COMMAND`, which gets SIGTERM when the parent dies: the request survives the exec."""
    from .worker import die_with_parent

    die_with_parent(parent, signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    _tied_to(int(sys.argv[1]), sys.argv[2:])
