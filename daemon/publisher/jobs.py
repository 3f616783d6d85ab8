"""What the publisher and the process of a destination say to each other. Both sides must pickle the same classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from .manifest import Item
    from .settings import DestinationConfig


JobKind = Literal["probe", "look", "stage", "commit", "shared"]


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

    "probe": reach it; with `create`, make anew what is gone. "look": which of `items`, none of which is processed yet,
    are there; changes nothing. "stage": fix the manifests of `items`, move their bytes.
    "commit": make them visible, prove that they arrived, write receipts. "shared": bring the shared files of
    `datasets` up to date, nothing else. `outputs`: all datasets of the destination, to count what its shards hold.
    """

    kind: JobKind
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
class Answer:
    """Whether a destination has an episode: its manifest there, all of whose files were proven; None: it has not.

    `at`: when it was asked, in Unix seconds.
    """

    control: Path
    destination: str
    manifest: dict[str, Any] | None
    at: float


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

    `commit`: the id of the last commit that was made, "" when nothing had to be committed. `answers`: to a look.
    """

    staged: tuple[Staged, ...] = ()
    proven: tuple[Path, ...] = ()
    blocked: tuple[Path, ...] = ()
    commit: str = ""
    place: str = ""
    trouble: Trouble | None = None
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Moving:
    """How far the bytes of a job are."""

    done: int
    total: int
