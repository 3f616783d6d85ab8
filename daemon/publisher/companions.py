"""What goes along with the episodes of a dataset: its shared files, and where a Hub has them, a card and a tag.

LeRobot asks a Hub for the tag of the format's version (`v2.1`). It is set, and moved, only when every episode of the
dataset is proven to be there: whoever loads the tag gets a dataset without holes, whatever is uploaded meanwhile.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from episoded.processors import formats
from episoded.processors.destinations.base import Catalogue

from ..control import CONTROL, ControlDir, read_json
from . import shared
from .manifest import Aim

if TYPE_CHECKING:
    from collections.abc import Collection

    from episoded.processors.destinations.base import Destination, File

    from .jobs import Dataset
    from .settings import DestinationConfig


def taken(dataset: Dataset, config: DestinationConfig, aims: Collection[Aim], destination: Destination) -> list[File]:
    """The files that go along now to these folders of a place: copies of the shared ones, and the card of the place."""
    files = list(shared.snapshot(dataset, config, aims))
    if isinstance(destination, Catalogue):
        aim = next(iter(aims))
        name = dataset.name if not aim.folder else aim.place.rpartition("/")[2]
        if card := destination.card(name, _info(files, aim) if not aim.folder else {}):
            files.append(shared.written(dataset, config, "README.md", card))
    return files


def settle(dataset: Dataset, config: DestinationConfig, destination: Destination) -> None:
    """The files that go along are there: tag a whole dataset, and forget the copies."""
    whole = is_whole(dataset, config)
    if whole and isinstance(destination, Catalogue) and not config.subfolder:
        info = read_json(dataset.output / "meta" / "info.json") or {}
        if version := info.get("codebase_version"):
            destination.tag(str(version))
    shared.settled(dataset, config, whole=whole)


def is_whole(dataset: Dataset, config: DestinationConfig) -> bool:
    """Whether every episode that the dataset lists has its receipt of this destination."""
    listing = formats.by_name(dataset.format).listing(dataset.root)
    controls = (ControlDir.of(dataset.output, name) for name in listing.episodes)
    return not listing.refusal and all((control.path / f"published.{config.name}").exists() for control in controls)


def is_settled(dataset: Dataset, config: DestinationConfig) -> bool:
    """Whether all that goes along is there as it is now, the tag of a whole dataset included."""
    current, was_whole = shared.state(dataset, config)
    return current and (was_whole or not is_whole(dataset, config))


def aims_of(dataset: Dataset, config: DestinationConfig) -> list[Aim]:
    """Where episodes of a dataset went, by their manifests."""
    records = (read_json(path) for path in (dataset.output / CONTROL).glob(f"*/manifest.{config.name}"))
    return sorted({Aim(record["place"], record["folder"]) for record in records if record}, key=str)


def _info(files: list[File], aim: Aim) -> dict[str, Any]:
    """`meta/info.json` as it goes along."""
    found = next((file for file in files if file.target == aim.target("meta/info.json")), None)
    try:
        value = json.loads(found.source.read_bytes()) if found else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
