"""Whole episodes on their way to one place together: what is committed, in which order, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from episoded.processors.destinations.base import Destination, File
    from episoded.processors.destinations.errors import MutatedError

    from .jobs import Dataset
    from .manifest import Aim, Item, Manifest


@dataclass
class Batch:
    """`entries`: control directory -> the episode and what of it goes there. One that is blocked leaves it."""

    destination: Destination
    entries: dict[Path, tuple[Item, Manifest]]
    proven: list[Path] = field(default_factory=list)
    blocked: list[Path] = field(default_factory=list)
    commit: str = ""

    @property
    def files(self) -> list[File]:
        """Everything that the receipts will prove."""
        return [file for _, listed in self.entries.values() for file in listed.files]

    @property
    def in_order(self) -> list[File]:
        """All files of one episode after the other, each episode followed by its manifest where somebody needs it.

        Where a commit is not atomic, it says that all of it is there; elsewhere, what others need not make.
        """
        ordered: list[File] = []
        for _, listed in self.entries.values():
            ordered += listed.files
            if listed.known_again or not self.destination.atomic_batch:
                ordered.append(manifest.as_file(listed))
        return ordered

    def aims_of(self, dataset: Dataset) -> set[Aim]:
        """Where its episodes of a dataset go; empty when it has none."""
        return {listed.aim for item, listed in self.entries.values() if item.output == dataset.output}

    def owner(self, error: MutatedError) -> Path:
        """The episode that a changed file belongs to; raises the error again for one that belongs to none."""
        for path, (_, listed) in self.entries.items():
            if error.target in (*(file.target for file in listed.files), listed.target):
                return path
        raise error  # a shared file: copied by us, so that its change is no episode's fault

    def singly(self) -> Iterator[Batch]:
        """A batch for each episode."""
        for path, entry in self.entries.items():
            yield Batch(self.destination, {path: entry})

    def message(self, datasets: Sequence[Dataset]) -> str:
        """What the commit says."""
        count = len(self.entries)
        names = ", ".join(dataset.name for dataset in datasets[:3]) + (" and others" if len(datasets) > 3 else "")
        return f"Add {count} episode{'' if count == 1 else 's'} of {names}"
