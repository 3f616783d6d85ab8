"""Many rounds of random SIGKILLs over the real daemon and its workers: `make soak`, or `python benchmarks/soak.py`.

Recordings are dropped, and one is being recorded while the daemon finishes its earlier episodes. A round kills a
worker, the daemon, or everything at once, at a random moment. After each death of the daemon the laws of the protocol
are checked on every file. In the end nothing is killed any more, and every frame of every recording, kept aside before
anybody touched it, must be found in its place in a video.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from episoded.daemon import logs, service_file
from episoded.daemon.claim import Leases
from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.processors import formats
from episoded.processors.simulation import Recorder, Version, record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # what must hold is said once, for tests and soak
from recordings import Originals, broken_laws, leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "EPISODED_SOAK"
CAMERAS = ("top", "wrist")
SIZE = (96, 128)
FPS = 30.0
VERSIONS: tuple[Version, ...] = ("v2.1", "dorobot-images", "v2.0")
PATIENCE_S = 120.0
CONFIG = """
[service]
state_dir = '{folder}/state'
rescan_s = 1
[workers]
cpu = 2
attempts = 1000000
retry_delay_s = 0
[guard]
disk_low = '100 MB'
disk_high = '100 MB'
memory_low = '50 MB'
[[drop]]
path = '{folder}/drop'
complete = 'rename'
"""


class Failed(Exception):  # noqa: N818 - the verdict, not an error of the program
    """A law was broken, or a frame is missing."""


@dataclass
class Soak:
    """The daemon, what is fed to it, and who kills it."""

    folder: Path
    chance: random.Random
    frames: int
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    kills: Counter[str] = field(default_factory=Counter)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.drop, self.kept, self.incoming = (self.folder / name for name in ("drop", "kept", "incoming"))
        for folder in (self.drop, self.kept, self.incoming):
            folder.mkdir(parents=True)
        (self.folder / "config.toml").write_text(CONFIG.format(folder=self.folder))
        # The same arguments give the same bytes: one recorder writes where the daemon works, one where nobody does.
        self.recorders = [Recorder(folder / "live", FPS, CAMERAS, SIZE, "v2.1", 7) for folder in (self.kept, self.drop)]
        self.recorded = 0

    def start(self) -> None:
        """Start the daemon, unless it runs."""
        if self.process and self.process.poll() is None:
            return
        command = [sys.executable, "-m", "episoded.daemon", "run", "--config", str(self.folder / "config.toml")]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=os.environ | {TOKEN: self.token}, stdout=log, stderr=log)
        wait_until(lambda: service_file.hear(self.folder / "state") or self.process_ended(), "the daemon to serve")

    def process_ended(self) -> bool:
        """Whether the daemon is gone; by itself is an error."""
        if self.process is None or self.process.poll() is None:
            return False
        raise Failed(f"the daemon ended with status {self.process.returncode}; see {self.folder / 'daemon.log'}")

    def feed(self) -> None:
        """Keep some episodes ahead of the daemon: a new recording, or one more episode of the live one."""
        if len(self.unfinished()) > 4:
            return
        if self.chance.random() < 0.5:
            for recorder in self.recorders:
                recorder.episode(self.recorded, self.frames)
            self.recorded += 1
            return
        name = f"set{len(list(self.kept.iterdir())):03d}"
        version = self.chance.choice(VERSIONS)
        record(self.kept / name, self.chance.randint(1, 4), self.frames, FPS, CAMERAS, SIZE, version=version)
        shutil.copytree(self.kept / name, self.incoming / name)
        (self.incoming / name).rename(self.drop / name)

    def strike(self) -> None:
        """Wait for a random moment, often within the work on an episode, and kill."""
        if self.chance.random() < 0.7:
            wait_until(lambda: self.living_claims() or not self.unfinished(), "an episode to be claimed")
            time.sleep(self.chance.uniform(0, 0.3))
        else:
            time.sleep(self.chance.uniform(0, 2))
        victim = self.chance.choices(["worker", "daemon", "everything"], [5, 3, 2])[0]
        workers = self.processes() if victim != "daemon" else []
        assert self.process is not None
        if victim == "worker":
            workers = [pid for pid in workers if pid != self.process.pid]
            workers = [self.chance.choice(workers)] if workers else []
        for pid in [*workers, *([self.process.pid] if victim != "worker" else [])]:
            kill(pid)
        self.kills[victim] += 1
        if victim != "worker":
            self.process.wait()
            wait_until(lambda: not self.processes(), "the workers to die with the daemon")
            self.check_laws()

    def check_laws(self) -> None:
        """Everything is dead: what lies on disk must be whole."""
        # Threads of a killed process may take some milliseconds more to let go of its locks.
        wait_until(lambda: not self.living_claims(), "the claims of the dead to be free")
        if broken := [law for dataset in self.datasets() for law in broken_laws(dataset)]:
            raise Failed("\n".join(broken))

    def finish(self) -> None:
        """Let it end its work in peace, and stop it as systemd does."""
        self.start()
        wait_until(lambda: not self.unfinished() or self.process_ended(), "the work to be finished", 10 * PATIENCE_S)
        problems: list[str] = []

        def settled() -> bool:
            problems[:] = [f"{dataset.name}: {what}" for dataset in self.datasets() for what in leftovers(dataset)]
            return not problems

        try:
            wait_until(settled, "everything to be tidy")
        except Failed:
            raise Failed("\n".join(problems)) from None
        assert self.process is not None
        self.process.terminate()
        if code := self.process.wait(60):
            raise Failed(f"the daemon ended with status {code} after SIGTERM")
        if orphans := self.processes():
            raise Failed(f"orphans: {orphans}")
        self.check_laws()

    def verdict(self) -> str:
        """Account for every frame and every generation; in words. Raises Failed."""
        missing, frames, generations, episodes = [], 0, 0, 0
        for kept in sorted(self.kept.iterdir()):
            originals = Originals.of(kept)
            frames += sum(map(len, originals.frames.values()))
            missing += [f"{kept.name}: {what}" for what in originals.missing_from(self.drop / kept.name)]
            for control in controls(self.drop / kept.name):
                episodes += 1
                generations += control.markers().generation
                missing += wrong_claims(control)
        if missing:
            raise Failed("\n".join(missing))
        datasets = len(list(self.kept.iterdir()))
        return (
            f"{datasets} datasets, {episodes} episodes, {generations} generations, each claimed once; "
            f"{frames} frames compared, none missing; no orphans, nothing left over"
        )

    def unfinished(self) -> list[ControlDir]:
        """Episodes that are not ready and tidy yet."""
        return [c for dataset in self.datasets() for c in controls(dataset) if not c.markers().cleaned]

    def living_claims(self) -> list[Path]:
        """The claims of episodes that are being worked on."""
        return [path for path in self.drop.glob(f"*/{CONTROL}/*/*.claim") if Leases().alive(path)]

    def datasets(self) -> list[Path]:
        """What was dropped so far."""
        return [path for path in sorted(self.drop.iterdir()) if (path / "meta" / "episodes.jsonl").exists()]

    def processes(self) -> list[int]:
        """Every living process that descends from our daemons, found by their environment."""
        return [process.pid for process in psutil.process_iter() if descends(process, self.token)]


def controls(dataset: Path) -> list[ControlDir]:
    """The control directories of all episodes of a dataset, made or not."""
    return [ControlDir.of(dataset, name) for name in formats.by_name("lerobot").listing(dataset).episodes]


def wrong_claims(control: ControlDir) -> Iterator[str]:
    """Generations that are missing, or whose claim names another."""
    for generation in range(1, control.markers().generation + 1):
        claim = read_json(control.claim(generation))
        if claim is None or claim["gen"] != generation:
            yield f"{control.path}: generation {generation} is claimed by {claim}"


def descends(process: psutil.Process, token: str) -> bool:
    """Whether a process was started, at whatever remove, with our token."""
    try:
        return process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def kill(pid: int) -> None:
    """SIGKILL; it may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition. Raises Failed when it does not come true in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience_s:.0f} s for {what}")
        time.sleep(0.01)


def run(soak: Soak, rounds: int) -> None:
    """All rounds, then the end."""
    for number in range(1, rounds + 1):
        soak.start()
        soak.feed()
        soak.strike()
        if number % 10 == 0:
            print(f"round {number}: {dict(soak.kills)}, {len(soak.unfinished())} episodes unfinished", flush=True)
    soak.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--frames", type=int, default=40, help="of each episode")
    arguments = parser.parse_args()
    logs.configure("error")
    folder = Path(tempfile.mkdtemp(prefix="episoded-soak-"))
    soak = Soak(folder, random.Random(arguments.seed), arguments.frames)
    print(f"{arguments.rounds} rounds with seed {arguments.seed} in {folder}", flush=True)
    started = time.monotonic()
    try:
        soak.feed()
        soak.feed()
        run(soak, arguments.rounds)
        words = soak.verdict()
    except Failed as error:
        print(f"FAILED after {dict(soak.kills)}; kept in {folder}\n{error}")
        return 1
    finally:
        for pid in soak.processes():
            kill(pid)
    seconds = time.monotonic() - started
    print(f"passed: {sum(soak.kills.values())} kills {dict(soak.kills)} in {seconds:.0f} s; {words}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
