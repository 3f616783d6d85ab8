"""What supervisor and workers say to each other. A module of its own: both sides must pickle the same classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .chain import Work
    from .publisher.jobs import Answer

#: "recognise": take what its destinations have for its result. "mend" and "export" are about a dataset, for which its
#: first episode stands.
Kind = Literal["work", "recognise", "tidy", "mend", "export"]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked to do with an episode, or with its dataset. `found`: what is to be recognised."""

    kind: Kind
    work: Work
    found: tuple[Answer, ...] = ()

    @property
    def on_gpu(self) -> bool:
        """Whether it has GPUs of its own."""
        return any(device.startswith("cuda") for device in self.work.devices)


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says: progress, or how a job ended (`ended` set)."""

    stage: str = ""
    unit: str = ""
    done: int = 0
    total: int = 0
    ended: str = ""
    reason: str = ""
