"""What a repair would do, as data: new contents, new names, what goes; and what is left alone, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from ..findings import Finding


@dataclass(frozen=True, slots=True)
class Write:
    """A file that gets new content. `make(path)` writes it, whole, to a private place; the original is kept."""

    target: PurePosixPath
    make: Callable[[Path], object]
    why: str


@dataclass(frozen=True, slots=True)
class Move:
    """A file or folder that gets another name; nothing lies there once all moves have been begun."""

    source: PurePosixPath
    target: PurePosixPath
    why: str


@dataclass(frozen=True, slots=True)
class Retire:
    """A file that goes out of the dataset's folders; it is kept."""

    source: PurePosixPath
    why: str


Change = Write | Move | Retire


@dataclass(frozen=True, slots=True)
class Refusal:
    """A finding that is left alone, because nothing in the dataset says how to mend it, or because it is no damage."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes to one dataset, which only make sense together, and what stays as it is.

    `mended`: the findings that go away.
    """

    root: Path
    changes: tuple[Change, ...]
    mended: tuple[Finding, ...]
    refusals: tuple[Refusal, ...]
