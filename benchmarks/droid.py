"""How fast raw DROID episodes become tracks: `python benchmarks/droid.py`.

Simulated episodes as long as the data set's are on average (300 rows), 960 points, 3 cameras, intrinsics from an index.
Measured is everything from the claim to `ready`: claims, HDF5, arrays, files, fsync, reading back, checkpoints. The
peer computes the same arrays the way most people would, with scipy and OpenCV, and saves them with numpy: no fsync, no
verification, no checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Sample, machine, measure

from episoded.daemon import logs
from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.daemon.private import PrivateService
from episoded.processors import formats
from episoded.processors.calibration import index
from episoded.processors.formats.droid_state import read_state
from episoded.processors.simulation_droid import record_droid

ROWS, POINTS_PER_FINGER, WARM_UP = 300, 480, 2
TARGETS = {"seconds": 0.25, "episodes_per_hour": 8000, "peak_mb": 400}
BRIEF_PER_HOUR, BRIEF_WORKERS = 120, 16
POLL_S = 0.25
SERIALS = ("18026681", "22008760", "24400334")


def calibrate(folder: Path, uuids: list[str]) -> Path:
    """An index of released calibrations for these episodes."""
    folder.mkdir()
    known = {uuid: {serial: [528.0, 640.0, 528.0, 360.0] for serial in SERIALS} for uuid in uuids}
    (folder / "intrinsics.json").write_text(json.dumps(known))
    index.build(folder)
    return folder


def ours(root: Path, output: Path, calibration: Path, count: int) -> list[Sample]:
    """The whole chain on `count` episodes after some to warm up, one sample each."""
    output.mkdir()
    table = {"points_per_finger": POINTS_PER_FINGER, "calibration": str(calibration)}
    pipeline = Pipeline.model_validate({"name": "bench", "stages": ["tracks"], "tracks": table})
    samples = []
    for uuid in formats.by_name("droid").listing(root).episodes[: WARM_UP + count]:
        samples.append(measure(lambda uuid=uuid: work_on(Work(root, output, uuid, "droid", pipeline))))
        if not (output / ".episoded" / uuid / "ready").exists():
            sys.exit(f"{uuid} did not become ready")
    return samples[WARM_UP:]


def peers(root: Path, output: Path, count: int) -> list[Sample]:
    """The same arrays by scipy and OpenCV."""
    output.mkdir()
    paths = sorted(root.rglob("trajectory.h5"))[: WARM_UP + count]
    return [measure(lambda path=path: peer(path, output / f"{path.parent.name}.npz")) for path in paths][WARM_UP:]


def peer(path: Path, target: Path) -> None:
    """One episode, vectorised where these libraries are."""
    import cv2
    from scipy.spatial.transform import Rotation, Slerp

    from episoded.processors.tracks.gripper import ROBOTIQ_2F85

    state = read_state(path)
    turns = Rotation.from_euler("xyz", state.cartesian[:, 3:]) * Rotation.from_euler("z", np.pi / 2)
    x, z = ROBOTIQ_2F85.finger(state.gripper)
    pad = ROBOTIQ_2F85.pad(POINTS_PER_FINGER)
    left = pad + np.stack([x, 0 * x, z], axis=1)[:, None]
    local = np.stack([left, left * [-1, -1, 1]])
    points = np.einsum("tij,ftnj->tfni", turns.as_matrix(), local).reshape(len(x), -1, 3)
    points += state.cartesian[:, None, :3]
    s = np.concatenate([[0], np.cumsum(1000 * np.linalg.norm(np.diff(points.mean(1), axis=0), axis=1))])
    grid = np.append(np.arange(np.floor(s[-1]) + 1), s[-1])
    moving = np.concatenate([[True], np.diff(s) > 0])
    turned = Slerp(s[moving], turns[moving])(grid).as_matrix()
    after = np.clip(np.searchsorted(s, grid), 1, len(s) - 1)
    share = ((grid - s[after - 1]) / (s[after] - s[after - 1]))[:, None, None]
    arrays: dict[str, Any] = {"tracks": points.astype("f4"), "frames": turned.astype("f4")}
    arrays["normalized"] = ((1 - share) * points[after - 1] + share * points[after]).astype("f4")
    matrix = np.array([[528.0, 0, 640], [0, 528, 360], [0, 0, 1]])
    for serial, poses in state.poses.items():
        moves = len(poses) if state.kinds[serial] == "wrist" else 1
        cameras = Rotation.from_euler("xyz", poses[:moves, 3:]).inv()
        shifts = -cameras.apply(poses[:moves, :3])
        seen = [
            cv2.projectPoints(some.reshape(-1, 3), cameras[k].as_rotvec(), shifts[k], matrix, None)[0]
            for k, some in enumerate(points if moves > 1 else [points])
        ]
        arrays[f"pixels_{serial}"] = np.concatenate(seen).reshape(len(x), -1, 2).astype("f4")
    np.savez(target, **arrays)


def through_the_daemon(folder: Path, episodes: int) -> tuple[float, int]:
    """A real service, into whose drop folder a tree of episodes is moved; seconds until all are ready, workers."""
    output = folder / "finished"
    output.mkdir()
    record_droid(folder / "staging", episodes=episodes, rows=60)
    rule = {"complete": "rename", "output": str(output), "pipeline": "metadata-only"}
    with PrivateService(folder / "service", rule=rule) as service:
        started = time.perf_counter()
        (folder / "staging").rename(service.drop / "droid")
        while len(list(output.glob(".episoded/*/ready"))) < episodes:
            service.check()
            time.sleep(POLL_S)
        return time.perf_counter() - started, len(os.sched_getaffinity(0))


def main() -> None:
    """Measure, print a table, and write the numbers."""
    arguments = parse()
    logs.configure("critical")
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="bench-droid-") as place:
        folder = Path(place)
        uuids = record_droid(folder / "droid", episodes=WARM_UP + arguments.episodes, rows=ROWS)
        calibration = calibrate(folder / "calibration", uuids)
        mine = ours(folder / "droid", folder / "out", calibration, arguments.episodes)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        theirs = peers(folder / "droid", folder / "peer", arguments.episodes)
        daemon = through_the_daemon(folder, arguments.daemon) if arguments.daemon else None
    numbers = summary(mine, theirs, peak, arguments.daemon, daemon)
    print(json.dumps(machine()))
    for line in table(numbers):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), **numbers}, indent=2) + "\n")


def summary(
    mine: list[Sample], theirs: list[Sample], peak: float, episodes: int, daemon: tuple[float, int] | None
) -> dict[str, float]:
    """What was measured, by name."""
    numbers = {
        "seconds": statistics.median(sample.wall for sample in mine),
        "cpu_seconds": statistics.median(sample.cpu for sample in mine),
        "quickest_seconds": min(sample.wall for sample in mine),
        "others_cores": statistics.median(sample.others for sample in mine),
        "peer_cpu_seconds": statistics.median(sample.cpu for sample in theirs),
        "peer_seconds": statistics.median(sample.wall for sample in theirs),
        "peak_mb": peak,
    }
    numbers["episodes_per_hour_of_cpu"] = 3600 / numbers["cpu_seconds"]
    numbers["times_the_brief"] = 3600 / numbers["seconds"] / (BRIEF_PER_HOUR / BRIEF_WORKERS)
    if daemon:
        numbers |= {"daemon_episodes": episodes, "daemon_seconds": daemon[0], "daemon_workers": daemon[1]}
    return numbers


def table(numbers: dict[str, float]) -> list[str]:
    """Lines for people."""
    per_hour = numbers["episodes_per_hour_of_cpu"]
    lines = [
        (
            f"one episode, claim to ready      {numbers['seconds']:.3f} s (target {TARGETS['seconds']}), "
            f"CPU {numbers['cpu_seconds']:.3f} s, quickest {numbers['quickest_seconds']:.3f} s; "
            f"others kept {numbers['others_cores']:.1f} cores busy"
        ),
        f"episodes/h on one core           {per_hour:,.0f} by CPU time (target {TARGETS['episodes_per_hour']:,})",
        (
            f"with scipy and OpenCV            {numbers['peer_seconds']:.3f} s, "
            f"CPU {numbers['peer_cpu_seconds']:.3f} s, "
            f"{numbers['peer_cpu_seconds'] / numbers['cpu_seconds']:.1f} x ours"
        ),
        (
            f"one worker of the brief          1 episode in {3600 * BRIEF_WORKERS / BRIEF_PER_HOUR:.0f} s: "
            f"{numbers['times_the_brief']:,.0f} x as long"
        ),
        f"peak memory                      {numbers['peak_mb']:.0f} MB (target {TARGETS['peak_mb']})",
    ]
    if "daemon_seconds" in numbers:
        count, seconds = numbers["daemon_episodes"], numbers["daemon_seconds"]
        lines.append(
            f"through the daemon               {count:,.0f} episodes of 60 rows in {seconds:.0f} s with "
            f"{numbers['daemon_workers']:.0f} workers: {3600 * count / seconds:,.0f} per hour"
        )
    return lines


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=20, help="episodes to measure one by one")
    parser.add_argument("--daemon", type=int, default=1000, help="episodes to send through a daemon; 0: none")
    parser.add_argument("--dir", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
