"""What test_systemd.py runs as root inside the systemd that it booted. The standard library only.

It installs and operates the service by the commands of docs/install.md, ends it in every way while an episode is in
flight, and writes what it saw to /share/seen.json. It judges nothing: that is left to the tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systemd_eyes import (
    CHECKOUT,
    SHARE,
    all_ready,
    as_robot,
    ends,
    episodes,
    in_flight,
    journal,
    main_pid,
    mode,
    process,
    run,
    service_processes,
    status,
    try_run,
    unit,
    until,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = Path("/srv/episoded/incoming/session_42")
SECOND = Path("/data/robots/session_43")
CONFIG = Path("/etc/episoded/config.toml")
#: Impatient, so that the test is: a hung loop is found in seconds, and a stop takes longer than TimeoutStopSec.
IMPATIENT = "[Service]\nWatchdogSec=10\nTimeoutStopSec=1\nRestartSec=100ms\n"
SETTINGS = """
[service]
rescan_s = 5
[workers]
cpu = 1
[guard]
disk_low = "50 MB"
disk_high = "60 MB"
memory_low = "50 MB"
[pipelines.default.encode]
profile = "archive"
preset = "placebo"
[[drop]]
path = "/srv/episoded/incoming"
"""
#: With a second drop folder, and quicker.
NEW_SETTINGS = SETTINGS.replace("placebo", "ultrafast") + '[[drop]]\npath = "/data/robots"\n'


def main() -> None:
    seen: dict[str, Any] = {}
    try:
        for step in (
            install, start, add_folder, upload, stop_in_flight, kill_in_flight, hang_in_flight, reload_in_flight,
            finish, look, refuse_reload, refuse_start, upgrade, uninstall,
        ):  # fmt: skip
            began = time.monotonic()
            print(f"--- {step.__name__}", flush=True)
            seen[step.__name__] = step()
            seen[step.__name__]["seconds"] = round(time.monotonic() - began, 2)
    finally:
        (SHARE / "seen.json").write_text(json.dumps(seen, indent=1))
        (SHARE / "journal.txt").write_text(run("journalctl --no-pager -o short-monotonic"))


def install() -> dict[str, Any]:
    _install_package()
    run("useradd --create-home robot")
    run(documented("install"))
    run(documented("collector"))
    verify = ["systemd-analyze", "verify", "--man=no", "episoded.service"]
    words = subprocess.run(verify, capture_output=True, text=True, check=False)
    write("/etc/systemd/system/episoded.service.d/impatient.conf", IMPATIENT)
    run("systemctl daemon-reload")
    return {"verify": words.stdout + words.stderr, "verify_rc": words.returncode}


def start() -> dict[str, Any]:
    """With the config.toml of the project as it is."""
    run(documented("start"))
    facts = unit("ActiveState", "SubState", "StatusText", "UnitFileState", "MainPID")
    return facts | {"process": process(int(facts["MainPID"]))}


def add_folder() -> dict[str, Any]:
    CONFIG.write_text(SETTINGS)
    run(documented("folder"))
    return unit("ActiveState", "ReadWritePaths")


def upload() -> dict[str, Any]:
    """As a collector whose recordings are private and whose umask is 077."""
    home = Path("/home/robot")
    shutil.copytree(SHARE / "recordings", home, dirs_exist_ok=True)
    run(f"chown -R robot: {home}; chmod -R u=rwX,go= {home}")
    as_robot(f"umask 077; TARGET={DATASET.parent}\n{documented('upload')}")
    return {"mode": mode(DATASET), "group": DATASET.group()}


def stop_in_flight() -> dict[str, Any]:
    flight = in_flight(DATASET)
    began = time.monotonic()
    run("systemctl stop episoded")
    took = time.monotonic() - began
    facts = unit("ActiveState", "Result", "ExecMainStatus")
    return facts | {"took": took, "flight": flight, "ends": ends(flight), "left": service_processes()}


def kill_in_flight() -> dict[str, Any]:
    run("systemctl start episoded")
    return restart_by(lambda: os.kill(main_pid(), signal.SIGKILL))


def hang_in_flight() -> dict[str, Any]:
    return restart_by(lambda: os.kill(main_pid(), signal.SIGSTOP))


def restart_by(blow: Callable[[], object]) -> dict[str, Any]:
    """The service before the blow, and when systemd has it running again."""
    flight = in_flight(DATASET)
    before = unit("MainPID", "NRestarts")
    blow()
    until("a restart", lambda: unit("NRestarts") != {"NRestarts": before["NRestarts"]})
    until("running again", lambda: unit("ActiveState")["ActiveState"] == "active")
    worker_left = Path(f"/proc/{flight['pid']}").exists()
    return {"flight": flight, "before": before, "after": unit("MainPID", "NRestarts"), "worker_left": worker_left}


def reload_in_flight() -> dict[str, Any]:
    """With a second drop folder in the configuration; in it lies a dataset whose folders only its owner may write."""
    as_robot(f"cp -r session_43 {SECOND.parent}; mkdir {SECOND}/.episoded; touch {SECOND}/.episoded/pending")
    as_robot(f"chmod -R u=rwX,go=rX {SECOND}")
    flight = in_flight(DATASET)
    before = main_pid()
    CONFIG.write_text(NEW_SETTINGS)
    run(documented("reload"))
    until("a word about the second dataset", lambda: str(SECOND) in status()["service"]["problems"])
    as_robot(f"cd {SECOND.parent}; chmod -R g+s session_43; {documented('let-in')}")
    until("the second dataset to be finished", lambda: all_ready(SECOND))
    return {"flight": flight, "ends": ends(flight), "before": before, "after": main_pid()}


def finish() -> dict[str, Any]:
    until("all episodes to be ready", lambda: all_ready(DATASET) and all_ready(SECOND))
    until("the service to say so", lambda: unit("StatusText")["StatusText"] == "4 ready")
    until("the frames to be removed", lambda: not list(DATASET.rglob("*.png")))
    videos = sorted(DATASET.glob("videos/**/*.mp4"))
    return {
        "episodes": {path.name: sorted(entry.name for entry in path.iterdir()) for path in episodes(DATASET)},
        "videos": len(videos),
        "read_by_nobody": try_run(["runuser", "-u", "nobody", "--", "cat", *map(str, videos)]),
        "finished_by": (SECOND / "meta/info.json").owner(),
        "written_by_recorder": try_run(["runuser", "-u", "robot", "--", "tee", "-a", *map(str, SECOND.glob("meta/*"))]),
        "removed_by_collector": try_run(["runuser", "-u", "robot", "--", "rm", "-r", str(SECOND)]),
    }


def look() -> dict[str, Any]:
    """As people do: anybody asks for the state, the service user whether the machine is fit."""
    now = status()
    drops = {drop["path"]: [dataset["counts"] for dataset in drop["datasets"]] for drop in now["drops"]}
    doctor = subprocess.run(["runuser", "-u", "episoded", "--", "episoded", "doctor"], check=False)
    return {"running": now["service"]["running"], "drops": drops, "doctor": doctor.returncode}


def refuse_reload() -> dict[str, Any]:
    before = main_pid()
    CONFIG.write_text(SETTINGS.replace("rescan_s", "rescan"))
    run("systemctl reload episoded")
    until("the refusal", lambda: "reload_refused" in journal())
    return {"before": before, "after": main_pid(), "active": unit("ActiveState")["ActiveState"]}


def refuse_start() -> dict[str, Any]:
    """With the same mistake in the configuration."""
    run("systemctl reset-failed episoded")  # all those starts so far are near StartLimitBurst
    refused = try_run(["systemctl", "restart", "episoded"])
    facts = unit("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
    said = run("journalctl --no-pager -u episoded -o cat -n 20")
    CONFIG.write_text(SETTINGS)
    return facts | {"status": refused, "said": said}


def upgrade() -> dict[str, Any]:
    run("systemctl reset-failed episoded")
    run(documented("upgrade"))
    return unit("ActiveState")


def uninstall() -> dict[str, Any]:
    said = journal()
    run(documented("uninstall"))
    left = [path for path in ("/etc/episoded", "/var/lib/episoded", "/opt/episoded") if Path(path).exists()]
    return {"journal": said, "left": left, "dataset_kept": (DATASET / "meta/info.json").exists()}


def documented(name: str) -> str:
    """The shell commands of docs/install.md that a comment before them calls `name`."""
    page = (CHECKOUT / "docs/install.md").read_text()
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert found, f"docs/install.md has no commands {name}"
    return found[1]


def _install_package() -> None:
    """What `pip install` leaves behind, without a package index: the packages of the checkout and a console script."""
    run([sys.executable, "-m", "venv", "--without-pip", "/opt/episoded"])
    site = next(Path("/opt/episoded/lib").glob("python*/site-packages"))
    shutil.copytree(SHARE / "package", site, dirs_exist_ok=True)
    write(f"{site}/dependencies.pth", "/opt/dependencies\n")
    run(["/opt/episoded/bin/python", "-m", "compileall", "-q", str(site)])
    script = Path("/opt/episoded/bin/episoded")
    script.write_text("#!/opt/episoded/bin/python\nfrom episoded.daemon.cli import main\nraise SystemExit(main())\n")
    script.chmod(0o755)
    Path("/usr/local/bin/episoded").symlink_to(script)


if __name__ == "__main__":
    main()
