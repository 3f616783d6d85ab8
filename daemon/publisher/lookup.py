"""Which episodes a destination has already: their manifests there, and proof of every file that these list.

Asked before anything is processed, by who lost what he knew, or never made it. Takes no locks and makes nothing.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from episoded.processors.destinations import open_destination
from episoded.processors.destinations.errors import BlockedError, RefusedError

from . import manifest
from .jobs import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from episoded.processors.destinations.base import Destination, File

    from .manifest import Aim, Item
    from .settings import DestinationConfig


class Lookup:
    """The reader of one destination."""

    def __init__(self, config: DestinationConfig) -> None:
        self._config = config
        self._clients: dict[str, Destination] = {}

    def look(self, items: Sequence[Item]) -> Iterator[Answer]:
        """An answer for each. Raises what a destination raises; then nothing is known."""
        at = time.time()
        by_aim: dict[Aim, list[Item]] = defaultdict(list)
        for item in items:
            by_aim[manifest.aim_at(self._config, item.dataset)].append(item)
        for aim, asked in by_aim.items():
            found = self._found(aim, asked)
            yield from (Answer(item.control.path, self._config.name, found.get(item.episode), at) for item in asked)

    def forget(self) -> None:
        """Close the clients: the next look opens them anew."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _found(self, aim: Aim, items: Iterable[Item]) -> dict[str, dict[str, Any]]:
        """Episode -> its manifest, of those that are there whole."""
        names = {manifest.target_of(aim, item.episode): item for item in items}
        try:
            client = self._at(aim.place)
            contents = client.read([*names])
            known = {target: self._understood(content, aim, names[target]) for target, content in contents.items()}
            wrong = client.verify([file for entry in known.values() if entry for file in entry[1]])
        except RefusedError:
            return {}  # a place that cannot be, by the name of its dataset
        except BlockedError as error:
            if error.code == "repo_missing":
                return {}
            raise
        return {
            names[target].episode: entry[0]
            for target, entry in known.items()
            if entry and not any(file.target in wrong for file in entry[1])
        }

    def _understood(self, content: bytes, aim: Aim, item: Item) -> tuple[dict[str, Any], tuple[File, ...]] | None:
        """A manifest and its files; None for one of other settings, of which nobody can tell how it was made, or torn.

        An empty list of files proves nothing.
        """
        try:
            record = json.loads(content)
            settings = manifest.settings_digest(self._config)
            if not (record["origin"] and record["settings"] == settings and record["place"] == aim.place):
                return None
            listed = manifest.listed_in(record, aim, item.output)
        except (ValueError, KeyError, TypeError):
            return None
        return (record, listed) if listed else None

    def _at(self, place: str) -> Destination:
        if place not in self._clients:
            self._clients[place] = open_destination(self._config.kind, self._config.params, place)
        return self._clients[place]
