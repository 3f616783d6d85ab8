"""The folders: there, allowed, with hard links, with events, with room."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from .. import fsio
from ..control import CONTROL
from ..errors import ConfigError
from .finding import Finding, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..config import Config, DropConfig


def state_dir(config: Config) -> Iterator[Finding]:
    """Where the service keeps its lock and its word about itself."""
    folder = config.service.state_dir
    hint = f"sudo install -d -o USER {folder}, or set [service] state_dir"
    if folder.is_dir():
        if os.access(folder, os.W_OK | os.X_OK):
            yield Finding("ok", "state folder", f"{folder} can be written")
        else:
            yield Finding("fail", "state folder", f"{folder} cannot be written by {user_name(os.geteuid())}", hint)
    elif os.access(_existing(folder), os.W_OK | os.X_OK):
        yield Finding("ok", "state folder", f"{folder} will be made by the service")
    else:
        yield Finding("fail", "state folder", f"{folder} is not there and cannot be made", hint)


def drop_folder(drop: DropConfig, config: Config) -> Iterator[Finding]:
    """One drop folder."""
    what, target = f"drop folder {drop.path}", drop.output or drop.path
    if not drop.path.is_dir():
        yield Finding("fail", what, "is not there", f"mkdir -p {drop.path}, or mount it")
        return
    needed = os.R_OK | os.X_OK | (0 if drop.output else os.W_OK)
    if not os.access(drop.path, needed):
        wanted = "read" if drop.output else "read and written"
        yield Finding("fail", what, f"cannot be {wanted} by {user_name(os.geteuid())}", "change its owner or its mode")
        return
    if drop.output and not drop.output.is_dir() and not os.access(_existing(drop.output), os.W_OK | os.X_OK):
        yield Finding("fail", what, f"its output {drop.output} cannot be made", f"mkdir -p {drop.output}")
        return
    yield from _links(what, _existing(target))
    yield from _foreign_control_dirs(what, target)
    yield from _events(what, drop.path)
    yield from _room(what, _existing(target), config)


def _links(what: str, target: Path) -> Iterator[Finding]:
    try:
        fsio.check_links(target)
    except ConfigError as error:
        yield Finding("fail", what, error.message, error.hint)
    except OSError as error:
        yield Finding("fail", what, f"{target}: {error.strerror}", "change its owner or its mode")
    else:
        yield Finding("ok", what, "can be written, and has hard links")


def _foreign_control_dirs(what: str, target: Path) -> Iterator[Finding]:
    """Markers made by an uploader lie in folders of the uploader: the service has to write there as well."""
    closed = [path for path in _control_dirs(target) if not os.access(path, os.W_OK | os.X_OK)]
    if closed:
        yield Finding(
            "fail",
            what,
            f"{len(closed)} control folders cannot be written, such as {closed[0]}",
            "let uploader and service share a group: chmod -R g+rwX on the dataset, and setgid on the drop folder",
        )


def _control_dirs(target: Path) -> Iterator[Path]:
    for pattern in (f"*/{CONTROL}", f"*/{CONTROL}/*/", f"*/*/{CONTROL}"):
        yield from (path for path in target.glob(pattern) if path.is_dir())


def _events(what: str, path: Path) -> Iterator[Finding]:
    from ..watch import DEAF, filesystem_type

    kind = filesystem_type(path)
    if kind in DEAF or kind.startswith("fuse."):
        yield Finding(
            "warn",
            what,
            f"is on {kind}, which sends no events",
            "nothing is lost: rescans find uploads, a little later",
        )


def _room(what: str, target: Path, config: Config) -> Iterator[Finding]:
    free, guard = shutil.disk_usage(target).free, config.guard
    words = f"{free / 1e9:.1f} GB free"
    if free < guard.disk_low:
        remedy = "make room, or lower [guard] disk_low"
        yield Finding(
            "fail", what, f"{words}: below disk_low ({guard.disk_low / 1e9:.1f} GB), nothing is begun", remedy
        )
    elif free < guard.disk_high:
        high = f"{guard.disk_high / 1e9:.1f} GB"
        yield Finding("warn", what, f"{words}: once paused, claiming resumes only at disk_high ({high})", "make room")
    else:
        yield Finding("ok", what, words)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    while not path.exists():
        path = path.parent
    return path
