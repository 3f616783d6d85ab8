"""What of an episode goes to a destination: its files, with the sizes and digests that hold from then on.

`manifest.<dest>` in the control directory is published before the first byte moves, and is never edited. It fixes the
digests of files that no stage made (the recorded table), the place where the episode goes, and what its receipt will
have to prove.
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from episoded.processors import formats
from episoded.processors.destinations.base import File, git_digest

from .. import checkpoint, fsio
from ..control import CONTROL, SCHEMA, ControlDir, read_json, to_json
from ..errors import EpisodedError
from .receipts import no_longer
from .settings import PLACEHOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..scan import DatasetView, EpisodeView
    from .settings import DestinationConfig

#: Larger files a Hub keeps out of git, and tells their sha256.
SMALL: Final = 10 << 20


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


def dataset_name(view: DatasetView) -> str:
    """Below its drop folder; by its own name where the drop folder is made up for it."""
    return str(view.root.relative_to(view.drop.path))


def item_of(view: DatasetView, episode: EpisodeView) -> Item:
    """An episode of a scan as something to publish."""
    return Item(dataset_name(view), view.root, view.output, episode.id, view.format.name)


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
    """`aim`: where it goes; `files`: what, with targets below the place; `path`, `target`: the manifest itself.

    `known_again`: it says what the episode was made of and with, so that others find there what they need not make.
    """

    path: Path
    aim: Aim
    files: tuple[File, ...]
    target: str
    known_again: bool = False

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
    ready = _ready(item)
    listed = {path: (size, digest) for path, size, digest in _contents(item, ready) if wanted(config, path)}
    aim = choose(item.dataset, len(listed))
    origin = {"origin": ready["origin"]} if ready.get("origin") else {}
    # Without a time: who makes the same again elsewhere finds the same manifest there, and has nothing to commit.
    record = {
        "schema": SCHEMA,
        "place": aim.place,
        "folder": aim.folder,
        "manifest": target_of(config, item.dataset, item.episode),
        "settings": settings_digest(config),
        "files": [
            {"path": path, "size": size, "sha256": digest, **(_git(item.output / path, size) if origin else {})}
            for path, (size, digest) in sorted(listed.items())
        ],
        **origin,
    }
    path = path_of(item.control, config.name)
    fsio.publish(path, to_json(record))
    return _parsed(record, path, item)


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
    return _parsed(record, path, item)


def settings_digest(config: DestinationConfig) -> str:
    """Digest of what decides which files go where."""
    deciding = [config.kind, config.params.template, config.subfolder, config.include, config.exclude]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


def _parsed(record: dict[str, Any], path: Path, item: Item) -> Manifest:
    aim = Aim(record["place"], record["folder"])
    target = record.get("manifest") or aim.target(f"{CONTROL}/{item.episode}/manifest.json")
    return Manifest(path, aim, listed_in(record, aim, item.output), target, bool(record.get("origin")))


def listed_in(record: Mapping[str, Any], aim: Aim, output: Path) -> tuple[File, ...]:
    """The files of a manifest, as they go to a folder of a place. Raises what a record raises that is none of ours."""
    return tuple(
        File(output / entry["path"], aim.target(entry["path"]), entry["size"], entry["sha256"], entry.get("git"))
        for entry in record["files"]
    )


def _git(path: Path, size: int) -> dict[str, str]:
    """What a Hub will tell of a small file: who has only the manifest cannot compute it."""
    with suppress(FileNotFoundError):  # it is refused when it is to be sent
        return {"git": git_digest(path.read_bytes())} if size <= SMALL else {}
    return {}


def _ready(item: Item) -> dict[str, Any]:
    """The record of a finished episode. Raises EpisodedError (`not_ready`, `not_here`)."""
    ready = read_json(item.control.path / "ready")
    if ready is None:
        raise EpisodedError("not_ready", f"{item.episode} is not ready (any more)", "nothing: it is being made again")
    if ready.get("found"):
        raise EpisodedError(
            "not_here",
            f"{item.episode} was found at {', '.join(ready['found'])} and not made here: there is nothing to send",
            "`episoded retry --from STAGE` with the first stage of its pipeline has it made here",
        )
    return ready


def _contents(item: Item, ready: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Path below the output, size and sha256 of everything that belongs to the episode."""
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


def target_of(config: DestinationConfig, dataset: str, episode: str) -> str:
    """What the manifest of an episode is called at its place.

    Not below a `{chunk}`: who looks for it does not know which. There, in one of 256 folders: a Hub takes 10,000 names
    in one.
    """
    parts = config.subfolder.split("/")
    fixed = list(itertools.takewhile(lambda part: not any(one in part for one in PLACEHOLDERS[1:]), parts))
    spread = [] if fixed == parts else [hashlib.sha256(episode.encode()).hexdigest()[:2]]
    above = "/".join(fixed).replace(PLACEHOLDERS[0], dataset)
    return str(PurePosixPath(above, CONTROL, *spread, episode, "manifest.json"))


def as_file(manifest: Manifest) -> File:
    """The manifest as the last file of its episode: where commits are not atomic, it says that all of it is there."""
    content = manifest.path.read_bytes()
    return File(manifest.path, manifest.target, len(content), hashlib.sha256(content).hexdigest())
