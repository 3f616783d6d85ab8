"""How busy the depth stage keeps its device, and what is left to do before its first and after its last work.

    python benchmarks/depth_busy.py                              # beside a stand-in that takes 10 ms a frame and no CPU
    python benchmarks/depth_busy.py --device cuda:0 --input-size 518 --frames 3000 --size 480x640

The whole stage is run, as the daemon runs it, but for the publishing: frames counted, decoded, put through the model,
aligned, cross-faded, written as FFV1, decoded again and compared, shown in a preview, joined, compared again.

Without `--device` the model is a stand-in: it computes nothing and waits as long as a device that takes `--ms` a frame
would be waited for. So the share says whether the CPU of this machine keeps up with such a device, and nothing about
how fast any device is. With one the network has random weights; with `--device cpu` everything competes for the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import measuring
import numpy as np
import structlog
from depth import Loaded, Timed, film, network

from episoded.processors.base import StageContext
from episoded.processors.depth import ladder
from episoded.processors.depth.params import DepthParams
from episoded.processors.depth.preprocess import model_size
from episoded.processors.depth.stage import DepthProcessor
from episoded.processors.depth.video_model import VideoModelSource
from episoded.processors.depth.windows import STEP, WINDOW
from episoded.processors.episode import Camera, Episode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_ENCODER_SHARE = 0.75  # of the time a real network takes


class StandIn:
    """Waits as a device would be waited for; gives a slope that moves."""

    precision = "fp32"

    def __init__(self, seconds: float, size: tuple[int, int]) -> None:
        self._seconds = seconds
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        self._maps = np.stack([1 + rows / 200 + np.sin(columns / 40 + k / 9) / 5 for k in range(WINDOW)])

    def features(self, pictures: Iterable[NDArray[np.uint8]], *_: Any) -> list[Any]:
        found = [None for _ in pictures]
        time.sleep(self._seconds * _ENCODER_SHARE * len(found))
        return found

    def maps(self, *_: Any) -> NDArray[np.float32]:
        time.sleep(self._seconds * (1 - _ENCODER_SHARE) * STEP)
        return self._maps.copy()

    def take_events(self) -> list[dict[str, Any]]:
        return []


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        video = film(Path(folder) / "input.mkv", options.frames, options.size)
        results = [measured(options, video, Path(folder) / f"{number}") for number in range(options.rounds)]
    best = max(results, key=lambda result: float(result["share"]))
    for name, unit in (("share", ""), ("frames_per_s", ""), ("head_s", "s"), ("tail_s", "s"), ("cpu_ms", "ms a frame")):
        values = [result[name] for result in results]
        print(f"{name:14s} {best[name]:8.3f} {unit:10s} ({min(values):.3f} to {max(values):.3f})")
    print(json.dumps({"options": vars(options), "machine": measuring.machine(), "rounds": results}, default=str))


def measured(options: argparse.Namespace, video: Path, output: Path) -> dict[str, float]:
    """One run of the stage. `share`: of the wall time that the model is at work; `head_s`, `tail_s`: before and after.

    `cpu_ms`: CPU time of the whole process, the model's included where it is on the CPU.
    """
    model = Timed(load(options))
    source = VideoModelSource(Loaded(model), "disparity_relative", "anchored", {"model": "benchmark"})  # type: ignore[arg-type]
    ladder.WAYS["video"] = lambda case: ladder.Way(source, case.frames)
    of = Episode(video.parent, output, "clip", 0, 0, Fraction(30), (Camera("top", None, PurePosixPath(video.name)),))
    (output / "scratch").mkdir(parents=True)
    params, threads = DepthParams(preview=options.preview), len(os.sched_getaffinity(0))
    ctx = StageContext(of, output / "scratch", params, structlog.get_logger(), threads=threads)
    processor = DepthProcessor()
    (unit,) = processor.units(of, params)
    started, cpu = time.perf_counter(), time.process_time()
    processor.run(unit, ctx)
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    wall = ended - started
    return {
        "share": model.seconds / wall,
        "frames_per_s": options.frames / wall,
        "head_s": model.began - started,
        "tail_s": ended - model.ended,
        "cpu_ms": 1000 * cpu / options.frames,
    }


def load(options: argparse.Namespace) -> Any:
    if options.device is None:
        height, width = options.size
        return StandIn(options.ms / 1000, model_size(height, width, options.input_size))
    from episoded.processors.depth.engine import Engine

    threads = len(os.sched_getaffinity(0))
    return Engine(network(options.encoder), options.encoder, options.device, options.input_size, "auto", threads)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="of torch; without it a stand-in")
    parser.add_argument("--encoder", default="vits", choices=("vits", "vitb", "vitl"))
    parser.add_argument("--ms", type=float, default=10.0, help="that the stand-in takes for a new frame")
    parser.add_argument("--input-size", type=int, default=280)
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(480, 640), help="HxW")
    parser.add_argument("--preview", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
