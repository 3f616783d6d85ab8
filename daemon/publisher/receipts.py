"""Receipts: the proof, as a file, that an episode reached a destination; and why one cannot.

    published.<dest>    what was read back from there: place, commit, size and digest of every file
    published           all destinations of the pipeline have it
    found               it was there before anything was made here, so nothing was
    blocked.<dest>      somebody has to mend something first

None is ever edited or deleted. One that is out of force is renamed: `published.<dest>.000001`, ...
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .. import fsio
from ..control import SCHEMA, ControlDir, read_json, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from episoded.processors.destinations.base import File
    from episoded.processors.errors import EpisodedError

    from .jobs import Answer

#: Markers written at a time: a disk makes several durable in little more than the time of one.
WRITERS: Final = 8


def write(control: ControlDir, destination: str, place: str, commit: str, files: Iterable[File]) -> bool:
    """Publish the receipt. False, with nothing done, when the episode is not ready any more, or has one."""
    if not control.markers().ready:
        return False
    listed = [{"target": file.target, "size": file.size, "sha256": file.sha256} for file in files]
    record = {"schema": SCHEMA, "place": place, "commit": commit, "files": listed, "at": time.time()}
    return _publish(control.path / f"published.{destination}", record)


def note_found(control: ControlDir, answer: Answer) -> None:
    """Publish manifest and receipt of an episode that a destination proved to have before anything was made here.

    Before `ready`, the only receipts that are: who is killed in between leaves nothing that looks unsent.
    """
    assert answer.manifest is not None
    record, folder = answer.manifest, answer.manifest["folder"]
    fsio.publish(control.path / f"manifest.{answer.destination}", to_json(record))
    listed = [
        {
            "target": f"{folder}/{entry['path']}" if folder else entry["path"],
            "size": entry["size"],
            "sha256": entry["sha256"],
        }
        for entry in record["files"]
    ]
    told = {"schema": SCHEMA, "place": record["place"], "commit": "found there", "files": listed, "at": answer.at}
    _publish(control.path / f"published.{answer.destination}", told)


def write_all(destination: str, commit: str, told: Sequence[tuple[ControlDir, str, Iterable[File]]]) -> None:
    """Publish the receipts of several episodes, each with its place and files."""
    from concurrent.futures import ThreadPoolExecutor  # `status` reads receipts, and starts without it

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(lambda one: write(one[0], destination, one[1], commit, one[2]), told):
            pass  # what one of them raises is raised here


def seal(control: ControlDir, destinations: Collection[str]) -> bool:
    """Publish `published` once every one of the destinations has its receipt; True when it was this call."""
    markers = control.markers()
    if not destinations or not markers.ready or markers.published or not markers.receipts.issuperset(destinations):
        return False
    return _publish(control.path / "published", {"schema": SCHEMA, "to": sorted(destinations), "at": time.time()})


def read(control: ControlDir, destination: str) -> dict[str, Any] | None:
    """The receipt in force, None when there is none."""
    return read_json(control.path / f"published.{destination}")


def block(control: ControlDir, destination: str, error: EpisodedError) -> None:
    """Say that an episode cannot get there, and why."""
    record = {"schema": SCHEMA, "code": error.code, "message": error.message, "hint": error.hint, "at": time.time()}
    _publish(control.path / f"blocked.{destination}", record)


def read_block(control: ControlDir, destination: str) -> dict[str, Any]:
    """Why an episode cannot get there; empty when nothing is known."""
    return read_json(control.path / f"blocked.{destination}") or {}


def unblock(control: ControlDir, destination: str) -> bool:
    """Let an episode be tried again; False when it was not blocked."""
    path = control.path / f"blocked.{destination}"
    if not path.exists():
        return False
    no_longer(path)
    return True


def withdraw(control: ControlDir) -> None:
    """Take everything that was said about destinations out of force: the episode is to be made again.

    `published` goes first. Killed in between, the episode is still ready, and proven once more.
    """
    with suppress(FileNotFoundError):
        names = sorted(path.name for path in control.path.iterdir())
        kinds = ("published", "found", "published.", "blocked.", "manifest.")
        for name in [name for name in names if name == "published"] + names:
            kind, dot, destination = name.partition(".")
            if kind + dot in kinds and "." not in destination and (control.path / name).exists():
                no_longer(control.path / name)


def withdraw_one(control: ControlDir, destination: str) -> None:
    """Take what was said about one destination out of force."""
    for name in ("published", f"published.{destination}", f"blocked.{destination}"):
        if (control.path / name).exists():
            no_longer(control.path / name)


def no_longer(path: Path) -> None:
    """Rename a marker to `<name>.000001` or the next free number: readable, and out of force."""
    number = 1
    while (keep := path.with_name(f"{path.name}.{number:06d}")).exists():
        number += 1
    fsio.set_aside(path, keep)


def _publish(path: Path, record: dict[str, Any]) -> bool:
    try:
        fsio.publish(path, to_json(record))
    except FileExistsError:
        return False
    return True
