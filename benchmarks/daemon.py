"""What the daemon costs while it waits, and how soon it begins: `make bench`, or `python benchmarks/daemon.py`.

Real datasets, a real daemon process, real commands. Prints a table with the targets beside and writes the numbers as
JSON. Dropping the page cache (the "cold" rows) needs root; without it they are left out and said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from ready_dataset import multiply, process

from episoded.daemon import config, logs
from episoded.daemon.control import ControlDir
from episoded.daemon.private import PrivateService
from episoded.daemon.scan import Scanner
from episoded.processors.simulation import record

SIZES = (1_000, 10_000)
WARM_SCANS = 20
COLD_SCANS = 3
STATUS_RUNS = 9
LATENCIES = 25
IDLE_S = 60.0
SETTLE_S = 2.0  # the first scans after the start are not idleness
BETWEEN_MARKERS_S = 1.0  # long enough for the daemon to sit still again
POLL_S = 0.0002


@dataclass(frozen=True)
class Row:
    """One number: what it is, how much (in `unit`, a median unless `what` says otherwise), and what it should be."""

    what: str
    value: float | None
    unit: str
    target: float | None = None
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None or self.value is None:
            return ""
        return "met" if self.value < self.target else "MISSED"


def measured(what: str, values: list[float], unit: str, target: float | None = None, note: str = "") -> Row:
    """The median of several values, with the smallest and the largest."""
    return Row(what, statistics.median(values), unit, target, (min(values), max(values)), note)


def rescans(root: Path, episodes: int) -> list[Row]:
    """Scans of a drop folder with one dataset: in a new process with cold caches, in a new process, and repeated."""
    target = 200 if episodes == 1_000 else None
    what = f"rescan of {episodes:,} episodes"
    scans = [scan_in_new_process(root) for _ in range(COLD_SCANS)]
    rows = [
        measured(f"{what}, repeated", [ms for scan in scans for ms in scan[1:]], "ms", target),
        measured(f"{what}, first of a process", [scan[0] for scan in scans], "ms", target),
    ]
    cold = []
    for _ in range(COLD_SCANS):
        if not drop_caches():
            return [*rows, Row(f"{what}, cold page cache", None, "ms", note="not measured: needs root")]
        cold.append(scan_in_new_process(root, warm=0)[0])
    return [*rows, measured(f"{what}, cold page cache", cold, "ms")]


def scan_in_new_process(root: Path, warm: int = WARM_SCANS) -> list[float]:
    """Milliseconds of each of 1 + `warm` scans."""
    command = [sys.executable, __file__, "--scan", str(root), "--times", str(1 + warm)]
    return list(map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def print_scans(root: Path, times: int) -> None:
    """The child of `scan_in_new_process`."""
    scanner = Scanner((config.DropConfig(path=root),))
    for _ in range(times):
        started = time.perf_counter()
        (view,) = scanner.scan()
        seconds = time.perf_counter() - started
        assert view.datasets
        assert view.datasets[0].finished
        print(f"{1000 * seconds:.3f}")


def drop_caches() -> bool:
    """Forget every cached page, directory and inode; False when we may not."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def idle(service: PrivateService, episodes: int, seconds: float) -> list[Row]:
    """CPU and memory of the daemon with nothing to do."""
    daemon = psutil.Process(service.pid)
    time.sleep(SETTLE_S)
    before = cpu_s(daemon)
    time.sleep(seconds)
    share = 100 * (cpu_s(daemon) - before) / seconds
    what = f"with {episodes:,} ready episodes"
    return [
        Row(f"idle CPU {what}, over {seconds:.0f} s", share, "% of a core", 0.5),
        Row(f"resident memory {what}", daemon.memory_info().rss / 2**20, "MiB", note="main process; no worker yet"),
    ]


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def status(service: PrivateService, episodes: int) -> Row:
    """`episoded status` as a command, from start to exit; its CPU time beside, which other processes do not disturb."""
    command = [sys.executable, "-P", "-m", "episoded.daemon", "status", "--config", str(service.config)]
    runs = [timed_ms(command) for _ in range(STATUS_RUNS)]
    note = f"CPU {statistics.median(cpu for _, cpu in runs):.0f} ms"
    return measured(f"`episoded status`, {episodes:,} episodes", [wall for wall, _ in runs], "ms", 500, note)


def timed_ms(command: list[str]) -> tuple[float, float]:
    """Milliseconds on the wall and of CPU."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * wall, 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def latencies(service: PrivateService, count: int, beside: str) -> Row:
    """From the marker of an episode to its claim, the daemon idle in between."""
    staged = service.folder / "arriving"
    record(staged, episodes=count, frames=2, size=(64, 64))
    root = staged.rename(service.drop / "arriving")
    seconds = []
    for index in range(count):
        control = ControlDir.of(root, f"episode_{index:06d}")
        time.sleep(BETWEEN_MARKERS_S)
        started = time.perf_counter()
        control.submit()
        until(control.claim(1).exists)
        seconds.append(time.perf_counter() - started)
        until((control.path / "cleaned").exists)
    note = "the first one waits for its worker to start"
    return measured(f"claim after a marker, {beside}", [1000 * value for value in seconds], "ms", note=note)


def until(holds: object, limit_s: float = 120.0) -> None:
    assert callable(holds)
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "the daemon did not get there; see its log"
        time.sleep(POLL_S)


def measure(folder: Path, sizes: tuple[int, ...], idle_s: float, latency_count: int) -> list[Row]:
    """All rows, in the order of the table."""
    template = folder / "template"
    record(template, episodes=1, frames=4, size=(64, 64))
    process(template)
    rows = []
    service = PrivateService(folder / "service")
    roots = {size: folder / f"{size}" for size in sizes} | {sizes[0]: service.drop}
    for size, root in roots.items():
        multiply(template, root / "finished", size)
        rows += rescans(root, size)
    with service:
        rows += idle(service, sizes[0], idle_s)
        rows.append(status(service, sizes[0]))
        rows.append(latencies(service, latency_count, f"beside {sizes[0]:,} ready episodes"))
    with PrivateService(folder / "empty") as service:
        rows.append(latencies(service, latency_count, "nothing else there"))
    return rows


def table(rows: list[Row]) -> str:
    lines = ["| what | median | smallest to largest | target | |", "|---|---|---|---|---|"]
    for row in rows:
        value = "-" if row.value is None else f"{number(row.value)} {row.unit}"
        spread = f"{number(row.spread[0])} to {number(row.spread[1])}" if row.spread else ""
        target = "" if row.target is None else f"< {row.target:g}"
        lines.append(
            f"| {row.what} | {value} | {spread} | {target} | {' '.join(filter(None, (row.verdict, row.note)))} |"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark_results/daemon.json"), help="where the JSON goes"
    )
    parser.add_argument("--quick", action="store_true", help="100 and 200 episodes, 5 idle seconds: does it run at all")
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scan:
        print_scans(options.scan, options.times)
        return
    logs.configure("error")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="episoded-bench-") as folder:
        sizes = (100, 200) if options.quick else SIZES
        rows = measure(Path(folder), sizes, 5.0 if options.quick else IDLE_S, 5 if options.quick else LATENCIES)
    print(f"{len(os.sched_getaffinity(0))} cores, load {load:.2f} before\n\n{table(rows)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    numbers = {"load_before": load, "rows": [asdict(row) for row in rows]}
    options.output.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
