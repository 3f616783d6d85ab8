"""Real places to publish to, one class for each kind of destination: what the tests need to know and to break there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from episoded.processors import destinations
from episoded.processors.destinations.base import File

if TYPE_CHECKING:
    from episoded.processors.destinations.base import Destination


class Site(Protocol):
    """One empty place of a kind, with a back door for the tests."""

    kind: str
    settings: dict[str, Any]
    place: str

    def read(self, target: str) -> bytes | None:
        """What lies there under a name, None when nothing does. Not through the destination."""

    def names(self) -> set[str]:
        """Every name that a reader sees there; nothing of what is only staged."""

    def overwrite(self, target: str, data: bytes) -> None:
        """Another writer changed what lies there."""

    def remove(self, target: str) -> None:
        """Another writer removed it."""


def opened(site: Site) -> Destination:
    """The destination, as the publisher opens it."""
    params = destinations.params_model(site.kind).model_validate(site.settings)
    return destinations.open_destination(site.kind, params, site.place)


class FolderSite:
    """A folder on this machine."""

    kind = "folder"

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root, self.place = root, str(root)
        self.settings = {"path": str(root)}

    def read(self, target: str) -> bytes | None:
        path = self.root / target
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith(".episoded/staged/")}

    def overwrite(self, target: str, data: bytes) -> None:
        (self.root / target).write_bytes(data)

    def remove(self, target: str) -> None:
        (self.root / target).unlink()


def files(folder: Path, contents: dict[str, bytes]) -> list[File]:
    """Source files with these contents, as their checkpoints would list them; sources have names of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (target, data) in enumerate(contents.items()):
        source = folder / f"source{number}"
        source.write_bytes(data)
        made.append(File(source, target, len(data), hashlib.sha256(data).hexdigest()))
    return made


def as_json(listed: list[File]) -> str:
    """Files for another process."""
    return json.dumps([[str(file.source), file.target, file.size, file.sha256] for file in listed])


def from_json(text: str) -> list[File]:
    return [File(Path(source), target, size, sha256) for source, target, size, sha256 in json.loads(text)]
