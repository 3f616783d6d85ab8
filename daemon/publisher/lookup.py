"""Which episodes a destination has already: their manifests there, and proof of every file that these list.

Asked before anything is processed, by who lost what he knew, or never made it. Takes no locks and makes nothing.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from episoded.processors.destinations import open_destination
from episoded.processors.destinations.errors import BlockedError, RefusedError

from . import manifest
from .jobs import Answer
from .manifest import Aim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from episoded.processors.destinations.base import Destination, File

    from .manifest import Item
    from .settings import DestinationConfig


class Lookup:
    """The reader of one destination."""

    def __init__(self, config: DestinationConfig) -> None:
        self._config = config
        self._clients: dict[str, Destination] = {}

    def look(self, items: Sequence[Item]) -> Iterator[Answer]:
        """An answer for each. Raises what a destination raises; then nothing is known."""
        at = time.time()
        by_dataset: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_dataset[item.dataset].append(item)
        for dataset, asked in by_dataset.items():
            found = self._found(dataset, asked)
            yield from (Answer(item.control.path, self._config.name, found.get(item.episode), at) for item in asked)

    def forget(self) -> None:
        """Close the clients: the next look opens them anew."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _found(self, dataset: str, items: Iterable[Item]) -> dict[str, dict[str, Any]]:
        """Episode -> its manifest, of those that are there whole; in any of the repos, where there are several."""
        found: dict[str, dict[str, Any]] = {}
        left = {manifest.target_of(self._config, dataset, item.episode): item for item in items}
        for shard in itertools.count():
            here = self._found_at(manifest.aim_at(self._config, dataset, shard).place, left)
            found |= here or {}
            left = {target: item for target, item in left.items() if item.episode not in found}
            if here is None or not left or "{shard}" not in self._config.params.template:
                return found
        raise AssertionError("some repo is the last")

    def _found_at(self, place: str, names: Mapping[str, Item]) -> dict[str, dict[str, Any]] | None:
        """The same at one place; None where there is no such place."""
        try:
            client = self._at(place)
            contents = client.read([*names])
            known = {target: self._understood(content, place, names[target]) for target, content in contents.items()}
            wrong = client.verify([file for entry in known.values() if entry for file in entry[1]])
        except RefusedError:
            return None  # a place that cannot be, by the name of its dataset
        except BlockedError as error:
            if error.code == "repo_missing":
                return None
            raise
        return {
            names[target].episode: entry[0]
            for target, entry in known.items()
            if entry and not any(file.target in wrong for file in entry[1])
        }

    def _understood(self, content: bytes, place: str, item: Item) -> tuple[dict[str, Any], tuple[File, ...]] | None:
        """A manifest and its files; None for one of other settings, of which nobody can tell how it was made, or torn.

        An empty list of files proves nothing.
        """
        try:
            record = json.loads(content)
            settings = manifest.settings_digest(self._config)
            if not (record["origin"] and record["settings"] == settings and record["place"] == place):
                return None
            listed = manifest.listed_in(record, Aim(place, record["folder"]), item.output)
        except (ValueError, KeyError, TypeError):
            return None
        return (record, listed) if listed else None

    def _at(self, place: str) -> Destination:
        if place not in self._clients:
            self._clients[place] = open_destination(self._config.kind, self._config.params, place)
        return self._clients[place]
