"""What is wrong with this machine and this configuration, and how to mend it.

Every check looks at the real thing: it links a file, encodes a few frames, asks the kernel. None changes anything that
it does not take back.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .. import config as configuration
from .. import service_file
from ..errors import ConfigError
from . import depth, destinations, droid, folders, machine
from .finding import Finding, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config

__all__ = ["Finding", "examine"]


def examine(path: Path | None) -> Iterator[Finding]:
    """Look at everything, with the configuration at `path` (None: the built-in one)."""
    try:
        config = configuration.load(path)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield Finding("fail", "configuration", line, error.hint)
        config = configuration.Config()
    else:
        yield from _configuration(config)
    yield from _service(config)
    yield from folders.state_dir(config)
    for drop in config.drops:
        yield from folders.drop_folder(drop, config)
    yield from machine.inotify()
    yield from machine.codecs(config)
    yield from depth.gpus(config)
    yield from droid.tracks(config)
    yield from destinations.destinations(config)
    yield from machine.workers(config)
    yield from machine.clock(config.drops)
    yield from _unit()


def _configuration(config: Config) -> Iterator[Finding]:
    if config.source is None:
        yield Finding(
            "warn",
            "configuration",
            f"none by --config, ${configuration.ENVIRONMENT} or at {configuration.SYSTEM_CONFIG}: the defaults apply",
            "copy config.toml of the project there; `episoded process` works without one",
        )
        return
    drops = f"{len(config.drops)} drop folder" + ("" if len(config.drops) == 1 else "s")
    yield Finding("ok", "configuration", f"{config.source}: {drops}, pipelines {', '.join(config.pipelines)}")
    if not config.drops:
        yield Finding(
            "warn", "configuration", "no drop folder: the service has nothing to watch", "add a [[drop]] table"
        )


def _service(config: Config) -> Iterator[Finding]:
    me = user_name(os.geteuid())
    try:
        report = service_file.hear(config.service.state_dir)
    except OSError as error:
        yield Finding(
            "warn", "service", f"cannot tell whether it runs: {error.strerror} ({error.filename})", "ask as root"
        )
        return
    if report is None:
        yield Finding("ok", "service", f"not running on {config.service.state_dir}; checked as user {me}")
        return
    owner = _owner_of(Path(f"/proc/{report.pid}"))
    yield Finding(
        "ok", "service", f"running as {owner}, pid {report.pid}, version {report.version}; checked as user {me}"
    )
    if config.source is not None and report.config != str(config.source):
        yield Finding(
            "warn",
            "service",
            f"it reads {report.config}, this check {config.source}",
            f"`episoded --config {report.config} doctor` checks what the service uses",
        )
    if owner != me:
        yield Finding(
            "warn",
            "permissions",
            f"checked as {me}, but the service is {owner}",
            f"runuser -u {owner} -- episoded doctor",
        )


def _unit() -> Iterator[Finding]:
    """The systemd unit, where systemd runs."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return
    properties = "LoadState,ActiveState,SubState,User,Result"
    said = machine.output_of(["systemctl", "show", "episoded.service", f"--property={properties}"])
    if said is None:
        return
    unit = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        yield Finding("ok", "systemd", "no episoded.service installed", "docs/install.md has the steps")
    elif unit.get("ActiveState") == "failed":
        found = f"episoded.service has failed ({unit.get('Result')})"
        yield Finding("fail", "systemd", found, "journalctl -u episoded -n 50, then systemctl restart episoded")
    else:
        user = unit.get("User") or "root"
        state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
        yield Finding("ok", "systemd", f"episoded.service is {state}, user {user}")


def _owner_of(path: Path) -> str:
    try:
        return user_name(path.stat().st_uid)
    except OSError:
        return "?"
