"""What the recording computer remembers of shipments that the server confirmed, beside the data.

`<dataset>/.episoded/pushed/<destination>/<episode>.json`. A lost receipt costs one question to the server.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from episoded.processors.errors import InputError

from .. import fsio
from ..control import CONTROL, SCHEMA, read_json, to_json
from ..errors import NotAvailableError, UnknownTargetError
from .encoded import is_frame
from .shipment import Sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .shipment import Shipment

_FOLDER: Final = "pushed"


class Receipts:
    """The receipts of a dataset for one destination."""

    def __init__(self, root: Path, destination: str) -> None:
        self._root = root
        self._folder = root / CONTROL / _FOLDER / re.sub(r"[^\w.@-]", "_", destination)

    def digest(self, shipment: Shipment) -> str | None:
        """Of the manifest that was confirmed; None: of this shipment, as it is now, nothing is known.

        Raises InputError (`changed_after_push`) for an episode whose files are others than those confirmed; files that
        went away since then may be gone.
        """
        record = read_json(self._path(shipment.name))
        if not record:
            return None
        known = {file.path: _of(file) for file in self.files(shipment.name)}
        changed = [file.path for file in shipment.files if known.get(file.path, _of(file)) != _of(file)]
        if not changed:
            return str(record["manifest"]) if shipment.id or len(record["files"]) >= len(shipment.files) else None
        if not shipment.id:
            return None
        raise InputError(
            "changed_after_push",
            f"{self._root / changed[0]} was changed after {shipment.id} had been pushed and confirmed",
            "what the server has stays; to send this one too, give it another episode number or --name",
        )

    def confirmed(self) -> set[str]:
        """The ids of the episodes that have one."""
        names = (path.name.removesuffix(".json") for path in self._folder.glob("*.json"))
        return {name for name in names if name != "dataset"}

    def files(self, name: str) -> list[Sent]:
        """What was confirmed of a shipment of this name: what was sent, and the frames that videos among it hold."""
        record = read_json(self._path(name)) or {}
        return [Sent(*file) for key in ("files", "instead_of") for file in record.get(key, ())]

    def write(self, shipment: Shipment, digest: str) -> None:
        """Durable before it returns."""
        path = self._path(shipment.name)
        fsio.make_dirs(path.parent, below=self._root)
        files, held = (
            [(file.path, file.size, file.mtime_ns) for file in listed]
            for listed in (shipment.files, shipment.instead_of)
        )
        content = to_json({"schema": SCHEMA, "manifest": digest, "files": files, "instead_of": held})
        fsio.replace(path, content, fsio.read_or_none(path))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the right to push the dataset at `root`. Raises NotAvailableError where another process has it."""
    if not root.is_dir():
        raise UnknownTargetError(
            "path_unknown", f"{root} is no folder", "push the folder of a dataset; is the path right?"
        )
    folder = root / CONTROL / _FOLDER
    fsio.make_dirs(folder, below=root)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise NotAvailableError("push_running", f"{root} is being pushed by another process", "let it go on") from None
    try:
        yield
    finally:
        os.close(fd)


def _of(file: Sent) -> tuple[int, int]:
    return file.size, file.mtime_ns


def without_frames(root: Path, files: list[Sent]) -> int:
    """Remove the frames among `files`, each only while it is the one that was confirmed; how many went."""
    removed, folders = 0, set()
    for file in files:
        path = root / file.path
        if is_frame(file.path) and path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns) == _of(file):
            fsio.remove(path)
            folders.add(path.parent)
            removed += 1
    for folder in folders:
        fsio.remove_empty_dirs(folder, stop=root / "images")
    return removed
