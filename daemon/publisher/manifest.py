"""What of an episode goes to a destination: its files, with the sizes and digests that hold from then on.

`manifest.<dest>` in the control directory is published before the first byte moves, and is never edited. It fixes the
digests of files that no stage made (the recorded table), the place where the episode goes, and what its receipt will
have to prove.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from episoded.processors import formats
from episoded.processors.destinations.base import File

from .. import checkpoint, fsio
from ..control import CONTROL, SCHEMA, ControlDir, read_json, to_json
from ..errors import EpisodedError
from .receipts import no_longer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .settings import DestinationConfig


@dataclass(frozen=True, slots=True)
class Item:
    """One episode to be published. `dataset`: its name below the drop folder, `/` included."""

    dataset: str
    root: Path
    output: Path
    episode: str
    format: str

    @property
    def control(self) -> ControlDir:
        """The episode's control directory."""
        return ControlDir.of(self.output, self.episode)


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an episode goes: the place, and the folder in it ("" for its top)."""

    place: str
    folder: str

    def target(self, path: str) -> str:
        """The name of a file of the dataset there."""
        return f"{self.folder}/{path}" if self.folder else path


@dataclass(frozen=True, slots=True)
class Manifest:
    """`aim`: where it goes; `files`: what, with targets below the place; `path` is the manifest itself."""

    path: Path
    aim: Aim
    files: tuple[File, ...]

    @property
    def bytes(self) -> int:
        """How much it is."""
        return sum(file.size for file in self.files)


def aim_at(config: DestinationConfig, dataset: str, shard: int = 0, chunk: int = 0) -> Aim:
    """The templates of a destination filled in. In the name of a place a nested dataset is `owner-name`."""
    flat = dataset if config.kind == "folder" else dataset.replace("/", "-")

    def filled(template: str, name: str) -> str:
        numbers = template.replace("{shard}", f"{shard:03d}").replace("{chunk}", f"{chunk:03d}")
        return numbers.replace("{dataset}", name)

    return Aim(filled(config.params.template, flat), filled(config.subfolder, dataset))


def wanted(config: DestinationConfig, path: str) -> bool:
    """Whether a path below the dataset goes to this destination."""
    included = any(fnmatch.fnmatchcase(path, pattern) for pattern in config.include)
    return included and not any(fnmatch.fnmatchcase(path, pattern) for pattern in config.exclude)


def path_of(control: ControlDir, destination: str) -> Path:
    """Where the manifest of an episode for a destination lies."""
    return control.path / f"manifest.{destination}"


def freeze(item: Item, config: DestinationConfig, choose: Callable[[str, int], Aim]) -> Manifest:
    """Fix what goes there, durably: the outputs of all stages, and the format's own files.

    `choose(dataset, files)` says where an episode of so many files goes. Raises EpisodedError (`not_ready`) for one
    that is not ready any more.
    """
    listed = {path: (size, digest) for path, size, digest in _contents(item) if wanted(config, path)}
    aim = choose(item.dataset, len(listed))
    record = {
        "schema": SCHEMA,
        "place": aim.place,
        "folder": aim.folder,
        "settings": settings_digest(config),
        "files": [{"path": path, "size": size, "sha256": digest} for path, (size, digest) in sorted(listed.items())],
        "at": time.time(),
    }
    path = path_of(item.control, config.name)
    fsio.publish(path, to_json(record))
    return _parsed(record, path, item.output)


def read(item: Item, config: DestinationConfig) -> Manifest | None:
    """The manifest in force; None where there is none, or where the destination was configured otherwise since.

    One of other settings is taken out of force, unless the episode has its receipt: what is there is there.
    """
    path = path_of(item.control, config.name)
    record = read_json(path)
    if not record:
        return None
    if record.get("settings") != settings_digest(config) and config.name not in item.control.markers().receipts:
        no_longer(path)
        return None
    return _parsed(record, path, item.output)


def settings_digest(config: DestinationConfig) -> str:
    """Digest of what decides which files go where."""
    deciding = [config.kind, config.params.template, config.subfolder, config.include, config.exclude]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


def _parsed(record: dict[str, Any], path: Path, output: Path) -> Manifest:
    aim = Aim(record["place"], record["folder"])
    files = tuple(
        File(output / entry["path"], aim.target(entry["path"]), entry["size"], entry["sha256"])
        for entry in record["files"]
    )
    return Manifest(path, aim, files)


def _contents(item: Item) -> Iterator[tuple[str, int, str]]:
    """Path below the output, size and sha256 of everything that belongs to the episode."""
    ready = read_json(item.control.path / "ready")
    if ready is None:
        raise EpisodedError("not_ready", f"{item.episode} is not ready (any more)", "nothing: it is being made again")
    seen = set()
    for record in _records(item.control, ready["stages"]):
        for output in record.outputs:
            seen.add(output.path)
            yield output.path, output.size, output.sha256
    shared = set(formats.by_name(item.format).shared_files(item.output))
    for name in formats.by_name(item.format).own_files(item.output, item.episode):
        if str(name) not in seen and name not in shared:
            yield str(name), (item.output / name).stat().st_size, checkpoint.sha256(item.output / name)


def _records(control: ControlDir, stages: Iterable[str]) -> Iterator[checkpoint.Record]:
    for _, record in checkpoint.read_all(control, stages):
        yield record


def as_file(manifest: Manifest, item: Item) -> File:
    """The manifest as the last file of its episode: where commits are not atomic, it says that all of it is there."""
    content = manifest.path.read_bytes()
    target = manifest.aim.target(str(PurePosixPath(CONTROL, item.episode, "manifest.json")))
    return File(manifest.path, target, len(content), hashlib.sha256(content).hexdigest())
