"""Timing that can be believed on a shared machine: rotated rounds, CPU of the whole process tree, and who else ran."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BUSY = 0.3  # cores used by others above which a measurement is taken again


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: wall seconds, CPU seconds of this process and all below it, and cores kept busy by anybody else."""

    wall: float
    cpu: float
    others: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster the first was than the second, over rounds in which both ran."""

    median: float
    lowest: float
    highest: float
    cpu: float


def measure(work: Callable[[], object]) -> Sample:
    """Run `work` once."""
    busy, cpu, wall = _machine_seconds(), _tree_seconds(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - wall, _tree_seconds() - cpu
    others = max(0.0, _machine_seconds() - busy - cpu) / wall
    return Sample(wall, cpu, others)


def rounds(
    contestants: Mapping[str, Callable[[], object]], count: int, tries: int, tell: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Each contestant once a round, the order rotated, so that drift of the machine hits all alike.

    A run during which others kept more than `BUSY` cores busy is repeated; the quietest of `tries` counts.
    """
    names = list(contestants)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(count):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken: list[Sample] = []
            while len(taken) < tries and (not taken or taken[-1].others > BUSY):
                taken.append(measure(contestants[name]))
            best = min(taken, key=lambda sample: sample.others)
            samples[name].append(best)
            tell(f"round {number + 1}/{count}  {name:42s} {best.wall:6.2f} s  others {best.others:.2f} cores")
    return samples


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], work: float = 1.0) -> Ratio:
    """Paired by round. `work` is how much more the first had to do than the second."""
    pairs = [work * their.wall / our.wall for our, their in zip(ours, theirs, strict=True)]
    cpu = [work * their.cpu / our.cpu for our, their in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs), statistics.median(cpu))


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
    }


def as_json(samples: Mapping[str, Sequence[Sample]]) -> dict[str, list[dict[str, float]]]:
    """The samples as JSON values."""
    return {name: [asdict(sample) for sample in taken] for name, taken in samples.items()}


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq + times.steal)


def _tree_seconds() -> float:
    """CPU seconds of this process and everything below it, ended children included."""
    total = 0.0
    process = psutil.Process()
    for member in (process, *process.children(recursive=True)):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
