"""Which shard, and which folder in it, an episode goes to: limits of a Hub are met before it says no.

Counted from the manifests on disk, so that there is nothing that could be lost. An episode that has a manifest keeps
its place for ever.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Final

from ..control import CONTROL, read_json
from .manifest import Aim, aim_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .settings import DestinationConfig

#: Episodes that share a folder `{chunk}`: a Hub takes at most 10,000 names in one.
EPISODES_PER_CHUNK: Final = 1000


class Shards:
    """What the places of one destination hold."""

    def __init__(self, config: DestinationConfig) -> None:
        self._config = config
        self._files: Counter[str] = Counter()
        self._episodes: Counter[Aim] = Counter()
        self._counted = False

    def count(self, outputs: Iterable[Path]) -> None:
        """Read what the manifests of these datasets say, once."""
        if self._counted or not self._config.sharded:
            return
        self._counted = True
        for output in outputs:
            for path in (output / CONTROL).glob(f"*/manifest.{self._config.name}"):
                if record := read_json(path):
                    self.add(Aim(record["place"], record["folder"]), len(record["files"]))

    def add(self, aim: Aim, files: int) -> None:
        """An episode goes there."""
        self._files[aim.place] += files
        self._episodes[aim] += 1

    def choose(self, dataset: str, files: int) -> Aim:
        """The first place with room for an episode of so many files."""
        if not self._config.sharded:
            return aim_at(self._config, dataset)
        for shard in itertools.count():
            aim = aim_at(self._config, dataset, shard)
            held = self._files[aim.place]
            if held and "{shard}" in self._config.params.template and held + files > self._config.max_files_per_shard:
                continue
            return self._chunk(dataset, shard)
        raise AssertionError("there is always another shard")

    def _chunk(self, dataset: str, shard: int) -> Aim:
        chunks = (aim_at(self._config, dataset, shard, chunk) for chunk in itertools.count())
        full = "{chunk}" in self._config.subfolder
        return next(aim for aim in chunks if not full or self._episodes[aim] < EPISODES_PER_CHUNK)
