"""The real command, as people and scripts call it: a process of its own, without the machine's configuration."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from episoded.daemon.cli import main

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-P", "-m", "episoded.daemon"]
TAKES_AT_MOST = 120.0

#: Nothing on this machine is too full, and nothing is tried again too late for a test.
PLAIN = """
[guard]
disk_low = 0
disk_high = 0
memory_low = 0
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Ours, without a configuration, completion or a terminal's width."""
    ours = {key: value for key, value in os.environ.items() if key not in ("EPISODED_CONFIG", "COLUMNS")}
    return ours | more


def episoded(*args: object, config: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """Run a command to its end."""
    ours = environment(**({"EPISODED_CONFIG": str(config)} if config else {}), **(env or {}))
    command = [*COMMAND, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TAKES_AT_MOST, env=ours, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def in_this_process(*args: object) -> Done:
    """Run a command to its end without starting another interpreter, which takes longer than many commands do."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    words, sys.argv = sys.argv, ["episoded", *map(str, args)]
    try:
        with mock.patch.dict(os.environ, environment(), clear=True), redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = words
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = [stream.seek(0) or stream.read() for stream in (out, err)]
    return Done(code, *said)


def begin(*args: object, config: Path | None = None) -> subprocess.Popen[str]:
    """Start a command; the caller ends it."""
    more = {"EPISODED_CONFIG": str(config)} if config else {}
    return subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a command that was begun."""
    out, err = process.communicate(timeout=TAKES_AT_MOST)
    return Done(process.returncode, out, err)


def on_terminal(*args: object, columns: int = 80, config: Path | None = None) -> tuple[int, str]:
    """Run a command on a terminal of so many columns; its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    more = {"EPISODED_CONFIG": str(config)} if config else {}
    process = subprocess.Popen(
        [*COMMAND, *map(str, args)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", **more),
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        said += chunk
    os.close(ours)
    return process.wait(TAKES_AT_MOST), said.decode()


def plain(said: str) -> str:
    """What was written on a terminal, without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).replace("\r", "")


def configure(folder: Path, *drops: Path | str, more: str = "", state: Path | None = None) -> Path:
    """A configuration with these drop folders (or tables of them, as text) and a state directory in `folder`."""
    tables = [drop if isinstance(drop, str) else f"[[drop]]\npath = {json.dumps(str(drop))}\n" for drop in drops]
    state_dir = state or folder / "state"
    path = folder / "config.toml"
    service = f"[service]\nstate_dir = {json.dumps(str(state_dir))}\n"
    path.write_text("\n".join([service, PLAIN, more, *tables]), encoding="utf-8")
    return path
