"""What the running service tells the other commands, and how they know that it runs.

`<state_dir>/service.lock` is flock-ed while the service lives; `service.json` is its last word about itself: what only
it can know (why it holds an episode back, whether it is paused, how watching is). Everything else is derived from the
markers by whoever asks.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from . import fsio
from .control import read_json, to_json
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """The service about itself.

    `paused`: output root -> why nothing is claimed there. `held`: control directory -> why the episode is not begun.
    `problems`: root -> what keeps the service from working there (a folder it may not write to). `destinations`: what
    is on its way to each, and what is in the way. `exports`: output root -> what is done about its export, or why the
    last attempt came to nothing. `gpus`: what the stages that need one have, in words; empty where there is no such
    stage.
    """

    pid: int
    version: str
    since: float
    config: str
    slots: int = 0
    busy: int = 0
    paused: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    destinations: dict[str, dict[str, Any]] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)
    watches: int = 0
    complaints: tuple[str, ...] = ()
    draining: bool = False
    gpus: str = ""


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state directory; raises ConfigError when another service has it, or it cannot be written."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(state_dir / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        hint = "create it for the service user, or set [service] state_dir"
        raise ConfigError("state_dir_unusable", f"{state_dir}: {error.strerror}", hint) from error
    try:
        _lock(fd, state_dir)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, state_dir: Path) -> None:
    """Take the lock. `hear` holds it for an instant when nobody else does: hence more than one try."""
    for _ in range(20):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
    raise ConfigError(
        "already_running", f"another episoded service uses {state_dir}", "stop it, or give this one its own state_dir"
    )


def tell(state_dir: Path, report: ServiceReport) -> None:
    """Leave the service's last word about itself."""
    fsio.replace_volatile(state_dir / "service.json", to_json(asdict(report)))


def hear(state_dir: Path) -> ServiceReport | None:
    """What the running service said last; None when none runs."""
    try:
        fd = os.open(state_dir / "service.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        record: dict[str, Any] | None = read_json(state_dir / "service.json")
        known = {field.name for field in fields(ServiceReport)}  # a newer service may say more
        return ServiceReport(**{key: value for key, value in record.items() if key in known}) if record else None
    finally:
        os.close(fd)
    return None
