"""A recording computer with a recording, a wire that can be cut, and a real sshd with a drop folder."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from commandline import COMMAND, Done, environment, finish, in_this_process
from sshd import sshd  # noqa: F401 - a fixture
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sshd import Sshd

NOTHING = hashlib.sha256().hexdigest()


class Site:
    """A recording computer with a recording, a wire, and a server with a drop folder."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server = server
        self.drop = folder / "drop"
        self.drop.mkdir()
        self.recording = folder / "edge" / "towel"
        self.there = self.drop / "towel"
        self.wire = Wire(server.port)

    @property
    def destination(self) -> str:
        return f"{self.server.host}:{self.drop}"

    @property
    def ssh(self) -> str:
        """ssh over the wire; the key of the server is known by its own port."""
        known = f"-o HostKeyAlias=[127.0.0.1]:{self.server.port}"
        return self.server.command.replace(f"-p {self.server.port}", f"-p {self.wire.port} {known}")

    def words(self, *options: object) -> list[str]:
        return [str(word) for word in ("push", self.recording, self.destination, "--ssh", self.ssh, *options)]

    def push(self, *options: object) -> Done:
        return in_this_process(*self.words(*options))

    def begin(self, *options: object) -> subprocess.Popen[str]:
        """In a process group of its own, so that all of it can be killed."""
        return subprocess.Popen(
            [*COMMAND, *self.words(*options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )

    def kill_after(self, count: int, *options: object) -> bool:
        """Push, and kill all of it (SIGKILL) when so many bytes have gone to the server; False: it was faster."""
        process = self.begin(*options)
        self.wire.cut_after(count, lambda: os.killpg(process.pid, signal.SIGKILL))
        finish(process)
        killed = process.returncode == -signal.SIGKILL
        assert killed or process.returncode in (0, 75)
        return killed

    def pending(self) -> set[str]:
        return {path.parent.name for path in self.there.glob(".episoded/*/pending")}

    def half_visible(self) -> list[str]:
        """What must never be seen on the server; empty: nothing of it is."""
        found = []
        known = lines(self.there / "meta/episodes.jsonl")
        for value in known:
            episode = f"episode_{value['episode_index']:06d}"
            mine = files(self.recording, episode)
            lacking = [path for path in mine if digest(self.there / path) != digest(self.recording / path)]
            found += [f"{episode} is known, but not {path}" for path in lacking]
        found += [
            f"{name} is pending, but not known"
            for name in self.pending()
            if name not in {f"episode_{value['episode_index']:06d}" for value in known}
        ]
        if self.there.exists():
            json.loads((self.there / "meta/info.json").read_bytes())
        return found

    def differences(self) -> list[str]:
        """Paths whose content on the server is not what was recorded."""
        paths = [path.relative_to(self.recording) for path in self.recording.rglob("*") if path.is_file()]
        return [
            str(path)
            for path in paths
            if path.parts[0] != ".episoded" and digest(self.there / path) != digest(self.recording / path)
        ]


def lines(path: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def files(root: Path, episode: str) -> list[Path]:
    found = [path for path in root.rglob("*") if path.is_file() and episode in str(path.relative_to(root))]
    return sorted(path.relative_to(root) for path in found if ".episoded" not in path.parts)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else NOTHING


def padded(root: Path, size: int = 400_000, only: str = "*.png") -> Path:
    """Make frames as large as real ones: a chunk of noise that no reader knows, before the end of the picture."""
    noise = random.Random(7)
    for path in root.rglob(only):
        content, chunk = path.read_bytes(), b"noIs" + noise.randbytes(size)
        body = struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:-12] + body + content[-12:])
    return root


@pytest.fixture
def site(sshd: Sshd, tmp_path: Path) -> Iterator[Site]:
    made = Site(sshd, tmp_path)
    with made.wire:
        yield made


def set_aside(root: Path, episode: str) -> Callable[[], None]:
    """Undo the recording of an episode; what brings it back, in the order of a recorder."""
    index = int(episode.removeprefix("episode_"))
    kept = {path: (root / path).read_bytes() for path in files(root, episode)}
    meta = {path: path.read_bytes() for path in root.glob("meta/*.json*")}
    for path in kept:
        (root / path).unlink()
    for path, content in meta.items():
        if path.name.startswith("episodes"):
            path.write_bytes(
                b"".join(
                    line for line in content.splitlines(keepends=True) if json.loads(line)["episode_index"] != index
                )
            )

    def record() -> None:
        for path, content in kept.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        for path in sorted(meta, key=lambda path: (path.name == "episodes_stats.jsonl", path.name)):
            path.write_bytes(meta[path])

    return record
