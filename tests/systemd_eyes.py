"""Hands and eyes of systemd_probe.py inside the booted systemd. The standard library only."""

from __future__ import annotations

import json
import pwd
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SHARE = Path("/share")
CHECKOUT = SHARE / "checkout"


def run(command: str | list[str]) -> str:
    """What the command printed; raises when it fails."""
    argv = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def as_robot(script: str) -> None:
    """Run it as the collector, in his home folder."""
    run(["runuser", "--login", "robot", "--command", f"set -eu\n{script}"])


def status() -> Any:
    """What everybody may see."""
    words = subprocess.run(
        ["runuser", "-u", "nobody", "--", "episoded", "status", "--json"], stdout=subprocess.PIPE, check=False
    )
    return json.loads(words.stdout)  # the exit status says whether something failed


def try_run(command: list[str]) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, check=False).returncode


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def until(what: str, condition: Callable[[], Any], within: float = 120.0) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:.0f} s for {what}")
        time.sleep(0.02)
    return value


def unit(*properties: str) -> dict[str, str]:
    lines = run(["systemctl", "show", "episoded", "--property", ",".join(properties)]).splitlines()
    return dict(line.split("=", 1) for line in lines)


def main_pid() -> int:
    return int(unit("MainPID")["MainPID"])


def journal() -> str:
    """The service's own words, and systemd's about it."""
    return run("journalctl --no-pager -u episoded -o cat")


def process(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    user = pwd.getpwuid(int(facts["Uid"][0])).pw_name
    return {"user": user} | {name: facts[name][0] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}


def service_processes() -> list[str]:
    """Command lines of all processes of the service user."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.owner() == "episoded":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def episodes(dataset: Path) -> list[Path]:
    return sorted(path for path in (dataset / ".episoded").glob("*") if path.is_dir())


def in_flight(dataset: Path) -> dict[str, Any]:
    """Wait until an episode is in the middle of a camera: where it is, and who has it."""
    return until("an episode in flight", lambda: next(filter(None, map(_flight, episodes(dataset))), None))


def _flight(episode: Path) -> dict[str, Any] | None:
    claims = sorted(episode.glob("g*.claim"))
    if not claims or (episode / "ready").exists():
        return None
    generation = claims[-1].stem
    with suppress(OSError, ValueError):
        progress = json.loads((episode / generation / "progress.json").read_text())
        pid = json.loads(claims[-1].read_text())["pid"]
        if progress["stage"] == "encode" and 0 < progress["done"] < progress["total"] and Path(f"/proc/{pid}").exists():
            return {"episode": str(episode), "generation": generation, "pid": pid, **progress}
    return None


def ends(flight: dict[str, Any]) -> list[str]:
    """How the generation that was in flight is marked to have ended."""
    return sorted(path.suffix for path in Path(flight["episode"]).glob(f"{flight['generation']}.*") if path.is_file())


def all_ready(dataset: Path) -> bool:
    found = episodes(dataset)
    return bool(found) and all((path / "cleaned").exists() for path in found)


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"
