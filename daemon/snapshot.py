"""Where everything stands at one moment, as plain values: what `status.take` makes and every reader shows.

`docs/status-schema.json` describes `to_json`. Times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from .state import State

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Service:
    """The service, as far as the other commands can know it.

    `running` None: this user may not look. `paused`, `problems`: root -> why. `since`: Unix seconds. `gpus`: in words.
    """

    running: bool | None
    state_dir: str
    pid: int | None = None
    version: str | None = None
    since: float | None = None
    config: str | None = None
    slots: int = 0
    busy: int = 0
    watches: int = 0
    draining: bool = False
    gpus: str = ""
    complaints: tuple[str, ...] = ()
    paused: dict[str, str] | None = None
    problems: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """An episode in somebody's hands. `done` of `total` frames of `unit`; None where the worker has not said yet.

    `since`: when it was claimed, `heard_at`: when it last told (Unix seconds); `rate`: frames per second of this unit
    so far, `eta_s`: seconds left of it.
    """

    episode: str
    generation: int
    host: str
    pid: int | None
    since: float | None
    stages_done: tuple[str, ...]
    stages: tuple[str, ...]
    stage: str | None = None
    unit: str | None = None
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    eta_s: float | None = None
    heard_at: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An episode that failed (`state` failed: for good) or waits for its next attempt, at `not_before` (Unix seconds).

    `attempt` of `attempts` counts the failures that bring it nearer to its last.
    """

    episode: str
    state: State
    stage: str | None
    code: str
    message: str
    hint: str
    retryable: bool
    attempt: int | None
    attempts: int
    at: float | None
    not_before: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """Episodes that are not begun for one and the same reason: how many, and the first few."""

    reason: str
    count: int
    episodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing in a dataset can be processed. `passing`: it is asked again, nobody needs to do anything yet."""

    code: str
    message: str
    hint: str
    passing: bool


@dataclass(frozen=True, slots=True)
class Export:
    """The dataset in another `version` at `path`, with so many `episodes`.

    `behind`: finished episodes that are not in it as they are now. `said`: what the service does about it, or why its
    last attempt came to nothing.
    """

    version: str
    path: str
    episodes: int
    behind: int
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset. `counts`: state -> episodes. `refusal`: why nothing in it can be processed.

    `export`: the dataset in another version, where its pipeline wants one.
    """

    name: str
    path: str
    output: str
    format: str
    episodes: int
    counts: dict[str, int]
    refusal: Refusal | None
    orphans: tuple[dict[str, str], ...]
    running: tuple[Running, ...]
    held: tuple[Held, ...]
    failures: tuple[Failure, ...]
    export: Export | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """One drop folder. `configured` False: made up for a path outside of them. `free_bytes`: where the outputs go."""

    path: str
    output: str | None
    configured: bool
    pipeline: str
    complete: str
    error: str | None
    free_bytes: int | None
    low_disk: bool
    strangers: tuple[dict[str, str], ...]
    datasets: tuple[Dataset, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why something does not get to a destination until a person has mended it; `episodes`: the first few, and `count`.

    A destination that is blocked as a whole has no episodes here.
    """

    code: str
    message: str
    hint: str
    count: int = 0
    episodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moving:
    """Bytes on their way: `done` of `total`, bytes per second, seconds left."""

    done: int
    total: int
    rate: int
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination. `waiting`, `published`: episodes that are ready and have no receipt of it, and those that have.

    `found`: how many of the latter were there before anything was made here. Only a running service knows the rest:
    what it is `doing` there, the last commit, since when it is offline, the last `trouble` and in how many seconds it
    is tried again. `blocked`: the destination, then episodes by reason.
    """

    name: str
    kind: str
    place: str
    waiting: int
    published: int
    found: int
    blocked: tuple[Blocked, ...]
    doing: str | None = None
    moving: Moving | None = None
    last_commit: str | None = None
    last_commit_at: float | None = None
    offline_since: float | None = None
    trouble: str | None = None
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment (`at`, Unix seconds)."""

    schema: int
    at: float
    version: str
    service: Service
    drops: tuple[Drop, ...]
    destinations: tuple[Destination, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something needs a person: an episode, a dataset, a folder or a destination."""
        datasets = [dataset for drop in self.drops for dataset in drop.datasets]
        return (
            any(dataset.counts[State.FAILED] for dataset in datasets)
            or any(dataset.refusal and not dataset.refusal.passing for dataset in datasets)
            or any(drop.error for drop in self.drops)
            or bool(self.service.problems)
            or any(destination.blocked for destination in self.destinations)
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values, described by docs/status-schema.json."""
        return asdict(self)
