"""Files that all episodes of a dataset share, as they are at one moment.

`meta/info.json` and the like change with every episode that finishes. They are taken under the dataset lock, copied,
and committed together with the episodes of a batch; no receipt of an episode lists them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Final

from episoded.processors import formats
from episoded.processors.destinations.base import File

from .. import checkpoint, fsio
from ..control import CONTROL, read_json, to_json
from ..errors import RetryableError
from ..locks import locked
from .manifest import wanted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .jobs import Dataset
    from .manifest import Aim
    from .settings import DestinationConfig

#: Larger ones are linked, not copied: they are only ever replaced as a whole.
COPIED_UP_TO: Final = 16 << 20


def folder_of(output: Path, destination: str) -> Path:
    """Where the copies lie until they are committed: on the filesystem of the dataset, named like nothing it counts."""
    return output / CONTROL / f"shared.{destination}"


def snapshot(dataset: Dataset, config: DestinationConfig, aims: Iterable[Aim]) -> tuple[File, ...]:
    """Copies of the shared files that go to this destination, all of one moment, once for each of the folders there.

    Raises RetryableError (`meta_unsettled`) while one of them is being written.
    """
    folder = folder_of(dataset.output, config.name)
    fsio.remove_tree(folder)
    fsio.make_dirs(folder, below=dataset.output)
    taken = []
    with locked(dataset.output / CONTROL / "lock"):
        (folder / "signature").write_bytes(to_json(signature(dataset, config)))
        for number, name in enumerate(formats.by_name(dataset.format).shared_files(dataset.output)):
            if wanted(config, str(name)):
                copy = folder / f"{number:06d}"
                _take(dataset.output / name, copy)
                taken.append((copy, str(name), copy.stat().st_size, checkpoint.sha256(copy)))
    return tuple(File(copy, aim.target(name), size, digest) for aim in aims for copy, name, size, digest in taken)


def as_they_are(dataset: Dataset, config: DestinationConfig, aims: Iterable[Aim]) -> tuple[File, ...]:
    """The shared files where they lie, to be compared with what is there, not to be sent: they may change meanwhile."""
    names = [name for name in formats.by_name(dataset.format).shared_files(dataset.output) if wanted(config, str(name))]
    sources = [(dataset.output / name, str(name)) for name in names]
    measured = [(path, name, path.stat().st_size, checkpoint.sha256(path)) for path, name in sources]
    return tuple(File(path, aim.target(name), size, digest) for aim in aims for path, name, size, digest in measured)


def written(dataset: Dataset, config: DestinationConfig, target: str, content: bytes) -> File:
    """A file of our own that goes along (the dataset card): written beside the copies."""
    copy = folder_of(dataset.output, config.name) / hashlib.sha256(target.encode()).hexdigest()[:12]
    copy.write_bytes(content)
    return File(copy, target, len(content), hashlib.sha256(content).hexdigest())


def settled(dataset: Dataset, config: DestinationConfig, *, whole: bool) -> None:
    """The copies are there: remember of what state of the dataset they were, and remove them.

    Worth nothing after a crash: then they are compared with what is there once more.
    """
    folder = folder_of(dataset.output, config.name)
    known = read_json(folder / "signature")
    if known is not None:
        fsio.replace_volatile(_stamp(dataset, config), to_json({"files": known, "whole": whole}))
    fsio.remove_tree(folder)


def state(dataset: Dataset, config: DestinationConfig) -> tuple[bool, bool]:
    """Whether the destination has the shared files as they are now, and whether the dataset was whole then."""
    stamp = read_json(_stamp(dataset, config)) or {}
    return stamp.get("files") == signature(dataset, config), bool(stamp.get("whole"))


def signature(dataset: Dataset, config: DestinationConfig) -> dict[str, list[int]]:
    """Name -> size and mtime in ns of the shared files that go there."""
    names = formats.by_name(dataset.format).shared_files(dataset.output)
    stats = {str(name): (dataset.output / name).stat() for name in names if wanted(config, str(name))}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in stats.items()}


def _stamp(dataset: Dataset, config: DestinationConfig) -> Path:
    return dataset.output / CONTROL / f"shared.{config.name}.json"


def _take(source: Path, copy: Path) -> None:
    """Raises RetryableError for half a JSON file: recorders know no lock, and write `info.json` in place."""
    if source.stat().st_size > COPIED_UP_TO:
        os.link(source, copy)
    else:
        shutil.copyfile(source, copy)
    if source.suffix == ".json":
        try:
            json.loads(copy.read_bytes())
        except ValueError as error:
            raise RetryableError("meta_unsettled", f"{source} is half written", "it is looked at again") from error
