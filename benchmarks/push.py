"""What pushing costs, against plain rsync of the same recording to the same sshd: `python benchmarks/push.py`.

A real sshd (tests/sshd.py) on loopback: the network costs nothing, so that what is left is what both computers do. They
are one here: what the two sides do at the same time costs more here than it does elsewhere, not less.

    push      `episoded push`: each episode sent, synced, compared by sha256, placed and marked, with a receipt
    checked   `rsync -a`, then `sync -f` there, then sha256sum here and there, compared: the same safety for all at once
    rsync     `rsync -a` alone: on the server's disk some time later, compared by nobody
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import machine, ratio, rounds

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

if TYPE_CHECKING:
    from sshd import Sshd

CAMERAS = ("top", "left", "right")


def recording(root: Path, episodes: int, frames: int, size: int) -> None:
    """A LeRobot v2.1 recording of small pictures; in each, before its end, `size` bytes that no reader looks at."""
    from episoded.processors import simulation

    simulation.record(root, episodes, frames, cameras=CAMERAS, size=(48, 64))
    noise = random.Random(7)
    for path in root.rglob("*.png"):
        content, chunk = path.read_bytes(), b"noIs" + noise.randbytes(size)
        body = struct.pack(">I", size) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:-12] + body + content[-12:])


class Race:
    """One recording, and a new drop folder for each that brings it there."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.root = folder / "towel"
        self._drops = 0

    def push(self) -> None:
        """Ours, in a process of its own."""
        drop = self._drop()
        command = [sys.executable, "-P", "-m", "episoded.daemon", "push", str(self.root), f"{self.server.host}:{drop}"]
        subprocess.run([*command, "--ssh", self.server.command], check=True, stdout=subprocess.DEVNULL)
        assert len(list(drop.glob("towel/.episoded/*/pending"))) == len(list(self.root.glob("data/*/*.parquet")))

    def checked(self) -> None:
        """By hand, as safe as ours: nothing is said to be there that was not read there."""
        drop = self.rsync()
        listing = "find . -type f ! -path './.episoded/*' -print0 | sort -z | xargs -0 sha256sum"
        there = f"sync -f {shlex.quote(str(drop))} && cd {shlex.quote(str(drop / 'towel'))} && {listing}"
        theirs = subprocess.run([*self.server.ssh, self.server.host, there], check=True, stdout=subprocess.PIPE).stdout
        ours = subprocess.run(["sh", "-c", listing], cwd=self.root, check=True, stdout=subprocess.PIPE).stdout
        assert ours == theirs

    def rsync(self) -> Path:
        """What people do."""
        drop = self._drop()
        command = ["rsync", "-a", "--exclude=.episoded", "-e", self.server.command, str(self.root)]
        subprocess.run([*command, f"{self.server.host}:{drop}/"], check=True)
        return drop

    def _drop(self) -> Path:
        """Nothing of an earlier run is there, or here."""
        shutil.rmtree(self.root / ".episoded", ignore_errors=True)
        shutil.rmtree(self.folder / f"drop{self._drops}", ignore_errors=True)
        self._drops += 1
        drop = self.folder / f"drop{self._drops}"
        drop.mkdir()
        subprocess.run(["sync", "-f", str(drop)], check=True)  # what others left to be written is not paid for
        return drop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--frames", type=int, default=200, help="of each of three cameras")
    parser.add_argument("--frame-kb", type=int, default=50, help="size of one")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    chosen = parser.parse_args()
    from sshd import Sshd

    with tempfile.TemporaryDirectory(prefix="push-") as name:
        server = Sshd(Path(name) / "ssh")
        server.start()
        try:
            race = Race(server, Path(name))
            recording(race.root, chosen.episodes, chosen.frames, chosen.frame_kb * 1000)
            sizes = [path.stat().st_size for path in race.root.rglob("*") if path.is_file()]
            print(f"{chosen.episodes} episodes, {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB")
            samples = rounds({"push": race.push, "checked": race.checked, "rsync": race.rsync}, chosen.rounds, 2, print)
        finally:
            server.stop()
    results: dict[str, Any] = {"machine": machine(), "files": len(sizes), "bytes": sum(sizes)}
    for other in ("checked", "rsync"):
        compared = ratio(samples[other], samples["push"])
        print(
            f"push took {compared.median:.2f} times as long as {other} "
            f"({compared.lowest:.2f} to {compared.highest:.2f}), {compared.cpu:.2f} times the CPU"
        )
        results[other] = {"times_as_long": compared.median, "cpu": compared.cpu}
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
