"""What the publisher and the process of a destination say to each other. Both sides must pickle the same classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from .manifest import Item
    from .settings import DestinationConfig


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset whose shared files go along. `name`: below the drop folder, `/` included."""

    name: str
    root: Path
    output: Path
    format: str


@dataclass(frozen=True, slots=True)
class Job:
    """What the process of a destination is asked to do.

    "probe": reach it; with `create`, make anew what is gone. "stage": fix the manifests of `items`, move their bytes.
    "commit": make them visible, prove that they arrived, write receipts. "shared": bring the shared files of
    `datasets` up to date, nothing else. `outputs`: all datasets of the destination, to count what its shards hold.
    """

    kind: Literal["probe", "stage", "commit", "shared"]
    config: DestinationConfig
    items: tuple[Item, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    outputs: tuple[Path, ...] = ()
    bytes: int = 0
    create: bool = False


@dataclass(frozen=True, slots=True)
class Staged:
    """An episode whose bytes are there, not yet visible: how much it is, and in which place."""

    control: Path
    place: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a job could not be done: which of the four kinds of `destinations.errors`, and what the error said."""

    kind: Literal["transient", "blocked", "refused"]
    code: str
    message: str
    hint: str = ""
    after_s: float | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. `proven`, `blocked`: control directories that have a receipt, or a reason why they cannot.

    `commit`: the id of the last commit that was made, "" when nothing had to be committed.
    """

    staged: tuple[Staged, ...] = ()
    proven: tuple[Path, ...] = ()
    blocked: tuple[Path, ...] = ()
    commit: str = ""
    place: str = ""
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Moving:
    """How far the bytes of a job are."""

    done: int
    total: int
