"""Which GPUs the workers may use, and who gets which. Asks the driver, not torch: the service stays light.

A worker sees the chosen GPUs in the order of `Gpus.ids` as cuda:0, cuda:1 ...; a job names those that are its own. Each
GPU belongs to one job at a time, or to `[workers] per_gpu` of them. With more episodes waiting than places are free
every one gets one, which is the fastest way through a backlog; a lone episode gets every GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from . import stages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .config import Pipeline, WorkersConfig
    from .jobs import Job

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
#: Why an episode is held where its next stage needs a GPU, there is none, and the CPU is not to do it.
NO_GPU: Final = 'waiting for a GPU: this machine shows none ([workers] without_gpu = "cpu" would do it without)'
_ASKING_TAKES_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver lists it: number, UUID, name, memory in MiB."""

    index: str
    uuid: str
    name: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of this machine that are ours, and what happens where there are none.

    `ids`: for CUDA_VISIBLE_DEVICES. `fallback`: stages that need a GPU run on the CPU when there is none. `needed`:
    there are such stages. `per_gpu`: jobs that share one.
    """

    ids: tuple[str, ...] = ()
    fallback: bool = True
    needed: bool = False
    per_gpu: int = 1

    @classmethod
    def of(cls, workers: WorkersConfig, pipelines: Iterable[Pipeline]) -> Gpus:
        """Those that `[workers] gpus` allows, for these pipelines; the driver is only asked where it matters."""
        if not any(needs_gpu(pipeline) for pipeline in pipelines):
            return NONE
        chosen = choose(workers.gpus, installed(), os.environ)
        ids, fallback = tuple(gpu.index for gpu in chosen), workers.without_gpu == "cpu"
        return cls(ids, fallback, needed=True, per_gpu=workers.per_gpu)

    @property
    def devices(self) -> tuple[str, ...]:
        """As torch calls them in a worker."""
        return tuple(f"cuda:{number}" for number in range(len(self.ids)))

    def environment(self, *, gpu: bool) -> dict[str, str]:
        """What a worker process is started with. One without a GPU sees none: it could only be in the way there."""
        return {VISIBLE: ",".join(self.ids) if gpu else "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def free(self, busy: Iterable[Job]) -> tuple[str, ...]:
        """Places on devices that no job has: each device once, then those that take more jobs again."""
        taken = Counter(device for job in busy for device in job.work.devices)
        turns = range(self.per_gpu)
        return tuple(device for turn in turns for device in self.devices if taken[device] + turn < self.per_gpu)

    def wanted_by(self, pipeline: Pipeline, done: Collection[str]) -> bool:
        """Whether the first stage that is not `done` needs a GPU that we have, or that has to be waited for."""
        following = next((stage for stage in pipeline.stages if stage not in done), None)
        if following is None or not stages.needs(following).gpu:
            return False
        return bool(self.ids) or not self.fallback

    def without(self, pipeline: Pipeline) -> tuple[str, ...]:
        """The devices of a job without a GPU: "cpu", or nothing where stages that need one go to other workers."""
        return () if (self.ids or not self.fallback) and needs_gpu(pipeline) else ("cpu",)

    @property
    def in_words(self) -> str:
        """For people; empty where no stage needs a GPU."""
        if not self.needed:
            return ""
        if self.ids:
            shared = f", {self.per_gpu} workers on each" if self.per_gpu > 1 else ""
            return f"{len(self.ids)} for the stages that need one (number {', '.join(self.ids)}{shared})"
        return (
            "none: stages that need one run on the CPU, slowly" if self.fallback else "none: stages that need one wait"
        )

    def all_here(self, pipeline: Pipeline) -> tuple[str, ...]:
        """The devices of the only job on this machine."""
        return self.devices or self.without(pipeline)


#: A machine without GPUs that does everything on the CPU.
NONE: Final = Gpus()


class Room:
    """Places that are free while jobs are chosen: `workers` without a GPU, and `gpus`, one entry for each place."""

    def __init__(self, workers: int, gpus: Sequence[str]) -> None:
        self.workers, self.gpus = max(0, workers), tuple(gpus)
        self._for_gpu = 0

    def has(self, *, gpu: bool) -> bool:
        """Whether one more job fits."""
        return self._for_gpu < len(self.gpus) if gpu else self.workers > 0

    def take(self, *, gpu: bool) -> None:
        """Give a place away."""
        if gpu:
            self._for_gpu += 1
        else:
            self.workers -= 1

    def takes(self, *, gpu: bool) -> bool:
        """Give a place away if there is one."""
        there = self.has(gpu=gpu)
        if there:
            self.take(gpu=gpu)
        return there

    def shares(self) -> list[tuple[str, ...]]:
        """The GPUs for each job that took one, divided as evenly as can be."""
        shares = (self.gpus[number :: self._for_gpu] for number in range(self._for_gpu))
        return [tuple(dict.fromkeys(share)) for share in shares]


def needs_gpu(pipeline: Pipeline) -> bool:
    """Whether any of its stages does."""
    return any(stages.needs(stage).gpu for stage in pipeline.stages)


def choose(
    wanted: str | int | Sequence[int | str], found: Sequence[Gpu], environment: Mapping[str, str]
) -> tuple[Gpu, ...]:
    """Of the `found` GPUs those that are wanted ("auto": all) and that CUDA_VISIBLE_DEVICES, if set, lets us see."""
    visible = found
    if (said := environment.get(VISIBLE)) is not None:
        visible = _named(said.split(","), found)
    if wanted == 0:
        return ()
    if wanted == "auto":
        return tuple(visible)
    assert not isinstance(wanted, (str, int))
    return tuple(gpu for gpu in _named(map(str, wanted), found) if gpu in visible)


def _named(names: Iterable[str], found: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """By number or UUID, in the order of the names; as for CUDA itself, an unknown name ends the list."""
    chosen: list[Gpu] = []
    for name in names:
        given = name.strip()
        match = next((gpu for gpu in found if given and (gpu.index == given or gpu.uuid.startswith(given))), None)
        if match is None:
            break
        chosen.append(match)
    return tuple(chosen)


@lru_cache(maxsize=1)
def installed() -> tuple[Gpu, ...]:
    """What the driver lists; nothing without a driver."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=_ASKING_TAKES_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_gpu(line) for line in said.splitlines() if line.count(",") == 3)


def _gpu(line: str) -> Gpu:
    index, uuid, name, memory = (part.strip() for part in line.split(","))
    return Gpu(index, uuid, name, int(memory) if memory.isdigit() else 0)
