"""What the tests share: waiting for a condition, and processes to play against."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))  # import-mode importlib: test modules share `recordings` and `actors`
# What a script runs in the background is deaf to SIGINT, and so would be the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No test is timed: beside others, an example that takes no time has been seen to take 300 ms.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from daemons import Daemon


structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


#: Tests that run only where they are asked for (`-m soak`), and why.
ASKED_FOR = {
    "soak": "takes minutes: make soak, or pytest -m soak",
    "lerobot": "LeRobot itself, in environments of its own: make test-lerobot",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for."""
    for name, reason in ASKED_FOR.items():
        if name not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dataset of lerobot_datasets.py, finished by the real chain. Not to be changed."""
    import lerobot_datasets

    return lerobot_datasets.finish_all(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def sources(finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The PNGs that are in the videos of `finished`."""
    import lerobot_datasets

    folder = tmp_path_factory.mktemp("sources")
    return {name: lerobot_datasets.source_of(name, folder / name) for name in finished}


def eventually(condition: Callable[[], Any], *, within: float = 30.0, what: str = "") -> Any:
    """The first true value of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:.0f} s: {what or condition}")
        time.sleep(0.01)


def process_state(pid: int) -> str | None:
    """The state letter of a process ("T" = stopped, "Z" = dead but not buried), None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


class Actor:
    """A real process in a role of tests/actors.py: it hears its stdin, and says lines on stdout."""

    def __init__(self, role: str, *args: object, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, str(TESTS / "actors.py"), role, *map(str, args)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | (env or {}), text=True
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def heard(self) -> str:
        """The next line it says; "" when it died or ended without one."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Close its stdin: what it waits for."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def rest(self) -> list[str]:
        """Everything else it says, once it has ended."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().splitlines()
        self.process.wait()
        return lines

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stopped(self) -> bool:
        """Whether the kernel has it stopped (SIGSTOP)."""
        return process_state(self.pid) == "T"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def actor() -> Iterator[Callable[..., Actor]]:
    """Starts actors; none outlives its test."""
    started: list[Actor] = []

    def start(role: str, *args: object, env: dict[str, str] | None = None) -> Actor:
        started.append(Actor(role, *args, env=env))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def daemon(tmp_path: Path, actor: Callable[..., Actor]) -> Iterator[Daemon]:
    """A daemon in the test's folder. When it is killed at the end, the laws of the protocol must hold."""
    from daemons import Daemon
    from recordings import CONTROL, broken_laws

    daemon = Daemon(tmp_path, actor)
    yield daemon
    daemon.kill()  # at whatever it was doing
    assert [
        law for dataset in daemon.drop.iterdir() if (dataset / CONTROL).exists() for law in broken_laws(dataset)
    ] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own, 4 MiB and 500 files small: what a full disk does is not simulated."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=500", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a tmpfs, which is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only as a mount is: permissions alone do not stop root."""
    mounted: list[Path] = []

    def make(path: Path) -> None:
        for step in (["mount", "--bind", str(path), str(path)], ["mount", "-o", "remount,ro,bind", str(path)]):
            if os.geteuid() != 0 or subprocess.run(step, capture_output=True, check=False).returncode:
                pytest.skip("needs to mount a folder read-only, which is not allowed here")
            if path not in mounted:
                mounted.append(path)

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)
