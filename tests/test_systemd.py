"""The unit in a real systemd: installed, run, upgraded and removed by the commands of docs/install.md.

systemd_boot.sh boots it in namespaces, systemd_probe.py acts and writes down what it saw, the tests below judge. About
half a minute when nothing else runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from episoded.daemon.errors import ExitCode
from episoded.processors.simulation import record

pytestmark = [pytest.mark.systemd, pytest.mark.xdist_group("systemd")]

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
UNIT = PROJECT / "systemd/episoded.service"
#: Home folders are hidden from the service: what the interpreter and its packages lie in is shown to it here.
PYTHON = Path("/opt/python")
DEPENDENCIES = Path("/opt/dependencies")
TOOLS = ("unshare", "findmnt", "pivot_root", "ip", "ldconfig", "rsync", "runuser", "useradd", "usermod", "userdel")


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if not found:
        pytest.skip("systemd-analyze is not installed")
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the probe saw, by step."""
    if obstacle := _obstacle():
        pytest.skip(obstacle)
    share = tmp_path_factory.mktemp("systemd")
    _furnish(share)
    boot = subprocess.run(
        [TESTS / "systemd_boot.sh", share, "/share/probe"], capture_output=True, text=True, check=False
    )
    log, found = share / "probe.log", share / "seen.json"
    if boot.returncode or not found.exists() or "Traceback" in log.read_text():
        journal = share / "journal.txt"
        parts = [boot.stderr, *(path.read_text()[-6000:] for path in (log, journal) if path.exists())]
        pytest.fail("\n".join(["the probe did not come to its end", *parts]), pytrace=False)
    return json.loads(found.read_text())


def _obstacle() -> str | None:
    """Why no systemd can be booted here, or None."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"not installed: {', '.join(missing)}"
    find = ["findmnt", "--noheadings", "--first-only", "--types", "cgroup2", "--output", "TARGET"]
    control_groups = subprocess.run(find, capture_output=True, text=True, check=False).stdout.strip()
    if not control_groups or not os.access(control_groups, os.W_OK):
        return "no cgroup2 filesystem is mounted that may be written"
    overlay = "mount -t tmpfs x /tmp; cd /tmp; mkdir u w r; mount -t overlay -o lowerdir=/,upperdir=u,workdir=w x r"
    namespaces = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork"]
    trial = subprocess.run([*namespaces, "bash", "-ec", overlay], capture_output=True, text=True, check=False)
    return f"namespaces or overlays are not allowed: {trial.stderr.strip()}" if trial.returncode else None


def _furnish(share: Path) -> None:
    """What the booted system needs of this one: interpreter, packages, the checkout, recordings, room for results."""
    shows = [("ro", sysconfig.get_path("purelib"), DEPENDENCIES), ("rw", share / "srv", "/srv/episoded")]
    python = Path(sys.executable).resolve()
    if not python.is_relative_to("/usr"):
        shows.append(("ro", sys.base_prefix, PYTHON))
        python = PYTHON / python.relative_to(Path(sys.base_prefix).resolve())
    (share / "srv").mkdir()
    (share / "shows").write_text("".join("\t".join(map(str, line)) + "\n" for line in shows))
    for name in ("systemd", "docs"):
        shutil.copytree(PROJECT / name, share / "checkout" / name)
    shutil.copy(PROJECT / "config.toml", share / "checkout")
    for name in ("daemon", "processors"):
        shutil.copytree(PROJECT / name, share / "package/episoded" / name, ignore=shutil.ignore_patterns("__pycache__"))
    # One may be finished by its worker while the service is stopped, killed or hung: one is left to be in flight.
    # More frames than the encoder looks ahead: of fewer, all are read at once, and none is seen to be in the middle.
    record(share / "recordings/session_42", episodes=3, frames=100)
    record(share / "recordings/session_43", episodes=1, frames=10, seed=1)
    for name in ("systemd_probe.py", "systemd_eyes.py"):
        shutil.copy(TESTS / name, share)
    # Found by the dynamic linker's cache: the path that is built into the interpreter leads into a hidden home folder.
    linker = f"if [ -d {PYTHON}/lib ]; then echo {PYTHON}/lib > /etc/ld.so.conf.d/python.conf; ldconfig; fi"
    (share / "probe").write_text(f"#!/bin/bash\n{linker}\nexec {python} /share/systemd_probe.py\n")
    (share / "probe").chmod(0o755)


def test_systemd_reads_the_unit_without_a_word(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/episoded/bin/episoded", sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_exposes_little(analyze: str) -> None:
    """At most 2.0 of 10 by systemd's own count."""
    command = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize(
    "obstacle", ["PrivateDevices=yes", "MemoryDenyWriteExecute=yes", "ProcSubset=pid", "SystemCallFilter=~@resources"]
)
def test_nothing_in_the_unit_stands_in_the_way_of_cuda(obstacle: str) -> None:
    assert obstacle not in UNIT.read_text().splitlines()


def test_the_documented_commands_install_and_start_it(seen: dict[str, Any]) -> None:
    assert (seen["install"]["verify_rc"], seen["install"]["verify"]) == (0, "")
    started = seen["start"]
    assert (started["UnitFileState"], started["ActiveState"], started["SubState"]) == ("enabled", "active", "running")
    assert started["StatusText"] == "nothing dropped yet"


def test_the_service_has_no_rights_but_those_of_its_user(seen: dict[str, Any]) -> None:
    none = "0" * 16
    assert seen["start"]["process"] == {
        "user": "episoded", "CapEff": none, "CapBnd": none, "NoNewPrivs": "1", "Seccomp": "2"
    }  # fmt: skip


def test_an_upload_lets_the_service_in_whatever_the_modes_of_the_recording(seen: dict[str, Any]) -> None:
    assert (seen["upload"]["mode"], seen["upload"]["group"]) == ("2775", "episoded")


def test_a_stop_releases_the_episode_in_flight_and_leaves_no_process(seen: dict[str, Any]) -> None:
    """Though it takes longer than the TimeoutStopSec of one second: the service asks for more time."""
    stop = seen["stop_in_flight"]
    assert (stop["ActiveState"], stop["Result"], stop["ExecMainStatus"]) == ("inactive", "success", "0")
    assert stop["ends"] == [".claim", ".released"]
    assert stop["left"] == []


@pytest.mark.parametrize("blow", ["kill_in_flight", "hang_in_flight"])
def test_a_killed_and_a_hung_service_are_restarted(seen: dict[str, Any], blow: str) -> None:
    before, after = seen[blow]["before"], seen[blow]["after"]
    assert int(after["NRestarts"]) == int(before["NRestarts"]) + 1
    assert after["MainPID"] not in ("0", before["MainPID"])
    assert not seen[blow]["worker_left"]


def test_the_journal_says_where_the_service_hung(seen: dict[str, Any]) -> None:
    journal = seen["uninstall"]["journal"]
    _, watchdog, after = journal.partition("Watchdog timeout (limit 10s)!")
    assert watchdog
    # The stacks of all threads follow; how many of them get out before the process is gone is a matter of luck.
    assert "Fatal Python error: Aborted" in after
    assert "Thread 0x" in after


def test_a_reload_takes_the_new_configuration_and_keeps_the_process(seen: dict[str, Any]) -> None:
    """The second drop folder is served, and the episode in flight was given back on the way."""
    reload = seen["reload_in_flight"]
    assert reload["before"] == reload["after"]
    assert reload["ends"] == [".claim", ".released"]


def test_every_episode_is_ready_in_the_end(seen: dict[str, Any]) -> None:
    finish = seen["finish"]
    assert set(finish["episodes"]) == {"episode_000000", "episode_000001", "episode_000002"}
    for names in finish["episodes"].values():
        assert {"ready", "cleaned"} <= set(names)
        assert not [name for name in names if "failed" in name]
    assert finish["videos"] == 6


def test_anybody_may_look_and_the_doctor_is_content(seen: dict[str, Any]) -> None:
    look = seen["look"]
    assert look["running"]
    assert [counts["ready"] for counts in look["drops"]["/srv/episoded/incoming"]] == [3]
    assert look["doctor"] == 0


def test_trainers_read_the_results(seen: dict[str, Any]) -> None:
    assert seen["finish"]["read_by_nobody"] == 0


def test_collectors_keep_the_say_over_their_dataset(seen: dict[str, Any]) -> None:
    """A recorder goes on writing `meta/` after the service replaced files in it; and they may remove everything."""
    finish = seen["finish"]
    assert finish["finished_by"] == "episoded"
    assert finish["written_by_recorder"] == 0
    assert finish["removed_by_collector"] == 0


def test_a_reload_with_a_mistake_is_refused_and_the_service_goes_on(seen: dict[str, Any]) -> None:
    assert seen["refuse_reload"]["before"] == seen["refuse_reload"]["after"]
    assert seen["refuse_reload"]["active"] == "active"


def test_a_wrong_configuration_is_named_and_not_tried_again(seen: dict[str, Any]) -> None:
    refused = seen["refuse_start"]
    assert refused["status"] != 0
    assert (refused["SubState"], refused["Result"], refused["NRestarts"]) == ("failed", "exit-code", "0")
    assert int(refused["ExecMainStatus"]) == ExitCode.CONFIG
    assert "service.rescan" in refused["said"]


def test_upgrade_and_uninstall_leave_the_data_alone(seen: dict[str, Any]) -> None:
    assert seen["upgrade"]["ActiveState"] == "active"
    assert seen["uninstall"]["left"] == []
    assert seen["uninstall"]["dataset_kept"]
