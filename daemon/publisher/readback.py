"""What a destination has, compared with what it should have: any time after it was published, without sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from episoded.processors.destinations.base import File

from . import companions, manifest, receipts, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from episoded.processors.destinations.base import Destination

    from .jobs import Dataset
    from .manifest import Item
    from .settings import DestinationConfig

    #: Opens the client of a place.
    OpenAt = Callable[[str], Destination]


def episodes(items: Iterable[Item], config: DestinationConfig, open_at: OpenAt) -> dict[Path, dict[str, str]]:
    """Read back what receipts say is there: control directory -> target -> what is wrong. One look at each place."""
    by_place: dict[str, dict[Path, list[File]]] = {}
    for item in items:
        told = receipts.read(item.control, config.name)
        if told is not None:  # else it was taken out of force this moment
            by_place.setdefault(told["place"], {})[item.control.path] = _listed(item, config, told["files"])
    found = {}
    for place, listed in by_place.items():
        wrong = open_at(place).verify([file for files in listed.values() for file in files])
        for path, files in listed.items():
            found[path] = {file.target: wrong[file.target] for file in files if file.target in wrong}
    return found


def companions_of(dataset: Dataset, config: DestinationConfig, open_at: OpenAt) -> dict[str, str] | None:
    """Read back what the episodes of a dataset share: target -> what is wrong. None: it has yet to be sent."""
    wrong: dict[str, str] = {}
    for aim in companions.aims_of(dataset, config):
        wrong |= open_at(aim.place).verify(shared.as_they_are(dataset, config, [aim]))
    current, _ = shared.state(dataset, config)
    return wrong if current or not wrong else None


def _listed(item: Item, config: DestinationConfig, entries: Iterable[dict[str, Any]]) -> list[File]:
    """The files of a receipt, with the sources that its manifest names: git's digest of one is computed from it."""
    known = manifest.read(item, config)
    ours = {file.target: file for file in known.files} if known else {}
    files = [File(item.output, entry["target"], entry["size"], entry["sha256"]) for entry in entries]
    return [ours.get(file.target, file) for file in files]
