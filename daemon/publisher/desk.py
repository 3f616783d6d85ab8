"""What people tell the publisher, as files below the service's state directory: they may come while no service runs.

destinations/<name>.blocked    a person has to mend something: code, message, hint, since; `resume` removes it
destinations/<name>.flush      commit what is there, whatever its age; removed when nothing waits any more
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import fsio
from ..control import SCHEMA, read_json, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from .jobs import Trouble


def folder(state_dir: Path) -> Path:
    """Where the files lie."""
    return state_dir / "destinations"


def blocked(state_dir: Path, destination: str) -> dict[str, Any] | None:
    """Why nothing gets to a destination, None when nothing is in the way."""
    return read_json(folder(state_dir) / f"{destination}.blocked")


def note_blocked(state_dir: Path, destination: str, trouble: Trouble) -> None:
    """Keep over a restart that a person has to mend something."""
    record = {"schema": SCHEMA, "code": trouble.code, "message": trouble.message, "hint": trouble.hint}
    _put(folder(state_dir) / f"{destination}.blocked", {**record, "since": time.time()})


def resume(state_dir: Path, destination: str) -> bool:
    """Have a destination tried again; False when it was not blocked."""
    was = blocked(state_dir, destination) is not None
    fsio.remove(folder(state_dir) / f"{destination}.blocked")
    return was


def flush(state_dir: Path, destination: str) -> None:
    """Have everything that waits for a destination committed now."""
    _put(folder(state_dir) / f"{destination}.flush", {"schema": SCHEMA, "at": time.time()})


def wants_flush(state_dir: Path, destination: str) -> bool:
    """Whether somebody asked for it."""
    return (folder(state_dir) / f"{destination}.flush").exists()


def flushed(state_dir: Path, destination: str) -> None:
    """It was done."""
    fsio.remove(folder(state_dir) / f"{destination}.flush")


def _put(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fsio.replace_volatile(path, to_json(record))
