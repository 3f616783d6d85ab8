"""The whole daemon as a process, with a folder of its own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import psutil

from conftest import eventually, process_state
from episoded.daemon import config, service_file
from episoded.daemon.scan import Scanner
from episoded.daemon.state import State
from recordings import EPISODE, copy, leftovers, tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

SETTINGS = """
[service]
state_dir = '{folder}/state'
rescan_s = {rescan_s}
drain_s = {drain_s}
[workers]
cpu = {cpu}
retry_delay_s = 0
[guard]
disk_low = '{disk_low}'
disk_high = '{disk_low}'
memory_low = '1 MB'
"""


class Daemon:
    """A daemon with a folder of its own and a drop folder in it that takes what is renamed in."""

    def __init__(self, folder: Path, start: Callable[..., Actor]) -> None:
        self.folder, self.drop, self._start = folder, folder / "drop", start
        self.state_dir, self.config = folder / "state", folder / "config.toml"
        self.drop.mkdir()
        self.incoming = folder / "incoming"
        self.settings: dict[str, Any] = {"rescan_s": 30, "drain_s": 30, "cpu": 2, "disk_low": "1 MB"}
        self.drops = [self.drop]
        self.process: Actor

    def configure(self, *more: str, **settings: Any) -> None:
        self.settings |= settings
        drops = [f"[[drop]]\npath = '{drop}'\ncomplete = 'rename'\n" for drop in self.drops]
        self.config.write_text("".join([SETTINGS.format(folder=self.folder, **self.settings), *drops, *more]))

    def start(self, *, deaf: bool = False, **env: str) -> Actor:
        """Start it and wait until it serves."""
        if not self.config.exists():
            self.configure()
        self.process = self._start("serve", self.config, "deaf" if deaf else "", env=env)
        eventually(lambda: (report := self.report()) and report.pid == self.process.pid, what="the daemon to serve")
        return self.process

    def report(self) -> service_file.ServiceReport | None:
        return service_file.hear(self.state_dir)

    def upload(self, name: str, **recording: Any) -> Path:
        """A recording that appears in the drop folder under its final name."""
        dataset = tiny(self.incoming / name, **recording)
        return dataset.rename(self.drop / name)

    def receive(self, ready: Path, name: str) -> Path:
        """A copy of a dataset that was finished elsewhere appears in the drop folder."""
        return copy(ready, self.incoming / name).rename(self.drop / name)

    def state(self, dataset: Path, episode: str = EPISODE) -> State | None:
        (drop,) = Scanner(config.load(self.config).drops[:1]).scan()
        episodes = {view.root.name: view.episodes for view in drop.datasets}.get(dataset.name, ())
        return next((view.state for view in episodes if view.id == episode), None)

    def wait_for(self, dataset: Path, state: State = State.READY, episode: str = EPISODE) -> None:
        eventually(lambda: self.state(dataset, episode) is state, what=f"{dataset.name}/{episode} to be {state}")

    def wait_until_finished(self, *datasets: Path) -> None:
        eventually(lambda: all(leftovers(dataset) == [] for dataset in datasets), what=f"{datasets} to be finished")

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stopped_worker(self) -> int:
        """The worker that stopped itself at a crash point."""
        return int(eventually(lambda: next((pid for pid in self.workers() if process_state(pid) == "T"), None)))

    def kill(self) -> None:
        """SIGKILL; its workers go with it."""
        if not hasattr(self, "process"):
            return
        workers = self.workers() if self.process.process.poll() is None else []
        self.process.kill()
        eventually(lambda: not any(map(process_state, workers)), what="the workers to be gone")

    def terminate(self) -> int:
        """SIGTERM, and its exit status; no worker may be left."""
        workers = self.workers()
        self.process.signal(signal.SIGTERM)
        code = self.process.process.wait(60)
        assert [pid for pid in workers if process_state(pid)] == [], "an orphan"
        return code
