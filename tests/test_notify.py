"""What the service tells systemd, heard by a socket in systemd's place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from episoded.processors.simulation import record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Message = dict[str, str]


class Listener:
    """The service, started with a NOTIFY_SOCKET, and the messages it sends there."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(f'[service]\nstate_dir = "{folder}/state"\n[[drop]]\npath = "{folder}/drop"\n')
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(60)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "episoded.daemon", "run", "--config", str(self.config)],
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"},
        )

    def until(self, field: str) -> list[Message]:
        """The messages up to the first that has this field."""
        heard: list[Message] = []
        while not heard or field not in heard[-1]:
            lines = self._socket.recv(65536).decode().splitlines()
            heard.append(dict(line.split("=", 1) for line in lines))
        return heard

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    record(tmp_path / "drop/session", episodes=4, frames=2, size=(32, 32))
    (tmp_path / "drop/session/.episoded").mkdir()
    (tmp_path / "drop/session/.episoded/pending").touch()
    listener = Listener(tmp_path)
    yield listener
    listener.close()


def test_it_says_that_it_lives_for_each_upload_it_looks_at_before_it_is_ready(listener: Listener) -> None:
    """Four looks, on a slow disk each of them a matter of seconds."""
    *before, ready = listener.until("READY")
    alive = [message for message in before if message.get("WATCHDOG") == "1"]
    assert len(alive) >= 4
    assert all(int(message["EXTEND_TIMEOUT_USEC"]) > 10**6 for message in alive)
    assert ready["MAINPID"] == str(listener.process.pid)


def test_it_feeds_the_watchdog_with_a_status_in_words(listener: Listener) -> None:
    listener.until("READY")
    status = listener.until("STATUS")[-1]
    assert status["WATCHDOG"] == "1"
    assert status["STATUS"]


def test_a_reload_begins_with_its_time_and_ends_ready(listener: Listener) -> None:
    listener.until("READY")
    listener.process.send_signal(signal.SIGHUP)
    assert int(listener.until("RELOADING")[-1]["MONOTONIC_USEC"]) > 0
    listener.until("READY")


def test_a_stop_is_announced_and_clean(listener: Listener) -> None:
    listener.until("READY")
    listener.process.send_signal(signal.SIGTERM)
    listener.until("STOPPING")
    assert listener.process.wait(60) == 0
