"""Depth of a long video takes the memory of a short one."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from av.video.frame import VideoFrame

pytest.importorskip("torch")

from depth_scene import picture
from episoded.processors.media.writer import Encoding, VideoWriter

SHORT, LONG = 220, 2860
LEAK = 2048  # bytes a frame: what the control keeps
LIMIT_KIB = 0.25  # a frame
REPEATS = 2  # a busy machine may add noise to one run (0.31 was seen), but a leak is in every one
# glibc moves its limits while a program runs, which would drown a small leak in noise.
STEADY = {
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
}


def film(path: Path, count: int) -> Path:
    with VideoWriter(path, Encoding("libx264", {"preset": "ultrafast"}), width=96, height=72, rate=Fraction(30)) as w:
        pictures = [
            VideoFrame.from_ndarray(picture(k, (72, 96)), format="rgb24").reformat(format="yuv420p") for k in range(44)
        ]
        for number in range(count):
            w.write(pictures[number % 44])
    return path


def start(video: Path, folder: Path, leak: int) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("depth_memory.py")), str(video), str(folder), str(leak)]
    return subprocess.Popen(command, env={**os.environ, **STEADY}, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("memory")
    short, long = film(folder / "short.mp4", SHORT), film(folder / "long.mp4", LONG)
    wanted = {"short": (short, 0), "long": (long, 0), "leaking": (long, LEAK)}
    processes = {name: start(video, folder / name, leak) for name, (video, leak) in wanted.items()}
    found = {name: json.loads(process.communicate()[0]) for name, process in processes.items()}
    for again in range(REPEATS):
        if not grows(found["long"]):
            break
        found["long"] = json.loads(start(long, folder / f"again {again}", 0).communicate()[0])
    assert [found[name]["frames"] for name in wanted] == [SHORT, LONG, LONG]
    return found


def grows(run: dict[str, Any]) -> bool:
    """By an eighth of the control's leak."""
    return bool(run["kib_per_frame"] >= LIMIT_KIB)


def test_the_peak_of_thirteen_times_the_frames_is_the_same(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["long"]["peak_kib"] <= 1.05 * runs["short"]["peak_kib"], runs


def test_nothing_is_kept_for_each_frame(runs: dict[str, dict[str, Any]]) -> None:
    assert not grows(runs["long"]), runs
    blocks = runs["long"]["blocks"]
    assert max(blocks) <= 1.01 * min(blocks), blocks


def test_a_leak_of_two_kilobytes_a_frame_would_be_noticed(runs: dict[str, dict[str, Any]]) -> None:
    assert grows(runs["leaking"]), runs
