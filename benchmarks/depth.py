"""How fast a video becomes depth, against the plain formula: every window whole, all frames in memory.

    python benchmarks/depth.py                                       # small, on the CPU: a minute or two
    python benchmarks/depth.py --device cuda:0 --encoder vitl --input-size 518 --frames 660

Both decode the same video, run the same network (random weights: the time is the same) at the same precision and
with the same batches, align, cross-fade and write FFV1. The first is this project's way: features of repeated frames
are kept, decoding and folding run beside the model. Ratios are medians over paired rounds. `share` is the part of the
wall time that the model is at work; on CUDA that is how busy the GPU is kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measuring
import numpy as np
import torch
from av.video.frame import VideoFrame

from episoded.processors.depth.codes import DisparityCodes
from episoded.processors.depth.engine import Engine, device_name
from episoded.processors.depth.fold import Fold
from episoded.processors.depth.frames import VideoFrames, look_at
from episoded.processors.depth.net import build
from episoded.processors.depth.video_model import VideoModelSource
from episoded.processors.depth.windows import window_frames
from episoded.processors.media import ffv1
from episoded.processors.media.writer import Encoding, VideoWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from episoded.processors.depth.net import VideoDepthNet

OURS, PLAIN = "this project", "every window whole"
CODES = DisparityCodes(1.0)
RATE = Fraction(30)


class Timed:
    """An engine that tells how long it was at work, without the waiting for frames to be decoded.

    `began`, `ended`: when it was at work first and last, by `time.perf_counter`.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.precision = engine.precision
        self.seconds = self.began = self.ended = 0.0
        self.frames = 0
        self.take_events = engine.take_events

    def features(self, pictures: Iterable[NDArray[np.uint8]], precision: Any = None) -> list[Any]:
        waited = 0.0

        def counted() -> Iterable[NDArray[np.uint8]]:
            nonlocal waited
            source, began = iter(pictures), time.perf_counter()
            for picture in source:
                waited += time.perf_counter() - began
                self.began = self.began or time.perf_counter()
                self.frames += 1
                yield picture
                began = time.perf_counter()
            waited += time.perf_counter() - began

        started = time.perf_counter()
        found: list[Any] = self._engine.features(counted(), precision)
        self.seconds += time.perf_counter() - started - waited
        return found

    def maps(
        self, window: int, features: Sequence[Any], check: Callable[[], None] = lambda: None, precision: Any = None
    ) -> NDArray[np.float32]:
        started = time.perf_counter()
        found: NDArray[np.float32] = self._engine.maps(window, features, check, precision)
        self.ended = time.perf_counter()
        self.seconds += self.ended - started
        return found


class Loaded:
    """What `VideoModelSource` asks to load its model from: the one that is there."""

    def __init__(self, model: Timed) -> None:
        self._model = model

    def load(self, _device: str, _threads: int = 1) -> Timed:
        return self._model


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        video = film(Path(folder) / "input.mkv", options.frames, options.size)
        frames = look_at(video)
        net, sizes = network(options.encoder), (options.input_size, options.precision, options.threads)
        model = Timed(Engine(net, options.encoder, options.device, *sizes))
        contestants = {
            OURS: partial(ours, model, frames, Path(folder)),
            PLAIN: partial(plain, model, frames, Path(folder)),
        }
        same(contestants[OURS](), contestants[PLAIN]())
        report(options, model, frames, contestants)


def network(encoder: str) -> VideoDepthNet:
    """With random weights, but not such as see nothing at all: depth that is 0 everywhere would always be the same."""
    torch.manual_seed(1)
    net = build(encoder)
    with torch.no_grad():
        net.head.scratch.output_conv2[2].bias.fill_(1.0)
    return net


def ours(model: Timed, frames: VideoFrames, folder: Path) -> NDArray[np.float32]:
    """The whole way as the depth stage goes it; gives the last map."""
    with writer(folder / "ours.mkv", frames) as output:
        for piece in VideoModelSource(Loaded(model), "disparity_relative", "anchored", {}).maps(frames):  # type: ignore[arg-type]
            for values in piece.maps:
                output.write(CODES.encode(values)[0])
    return values


def plain(model: Timed, frames: VideoFrames, folder: Path) -> NDArray[np.float32]:
    """The formula: all frames, then all windows, each computed whole, then all maps, then the file."""
    pictures = list(frames.read())
    fold = Fold(frames.count, (frames.height, frames.width), "anchored")
    maps: list[NDArray[np.float32]] = []
    for window in range(fold.windows):
        seen = model.features(pictures[number] for number in window_frames(window, frames.count))
        maps += [values for _, values in fold.add(window, model.maps(window, seen))]
    with writer(folder / "plain.mkv", frames) as output:
        for values in maps:
            output.write(CODES.encode(values)[0])
    return maps[-1]


def same(one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    """Nobody wins by computing something else."""
    difference = float(np.abs(one - other).max() / np.abs(other).max())
    if not difference <= 1e-4:  # not a number either
        raise SystemExit(f"the contestants differ by {difference:.1e}")


def report(options: argparse.Namespace, model: Timed, frames: VideoFrames, contestants: dict[str, Any]) -> None:
    shares: dict[str, list[float]] = {name: [] for name in contestants}
    encoded: dict[str, int] = {}

    def watched(name: str) -> None:
        model.seconds, model.frames, started = 0.0, 0, time.perf_counter()
        contestants[name]()
        shares[name].append(model.seconds / (time.perf_counter() - started))
        encoded[name] = model.frames

    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    runs = {name: partial(watched, name) for name in contestants}
    samples = measuring.rounds(runs, options.rounds, options.tries, print)
    ratio = measuring.ratio(samples[OURS], samples[PLAIN])
    for name, taken in samples.items():
        wall, cpu = (float(np.median([getattr(sample, what) for sample in taken])) for what in ("wall", "cpu"))
        share = float(np.median(shares[name]))
        print(
            f"{name:20s} {frames.count / wall:7.2f} frames/s  {1000 * cpu / frames.count:8.1f} ms CPU a frame", end=""
        )
        print(f"  share of the model {share:5.1%}  frames encoded {encoded[name]}")
    print(f"ratio {ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f}), by CPU time {ratio.cpu:.2f}")
    if options.device.startswith("cuda"):
        print(f"peak VRAM {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    result = {"options": vars(options), "machine": measuring.machine(), "device": device_name(options.device)}
    print(json.dumps({**result, "samples": measuring.as_json(samples), "shares": shares}, default=str))


def writer(path: Path, frames: VideoFrames) -> ffv1.DepthWriter:
    return ffv1.DepthWriter(path, height=frames.height, width=frames.width, rate=RATE)


def film(path: Path, count: int, size: tuple[int, int]) -> Path:
    """A texture that drifts."""
    height, width = size
    texture = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8 + count, 3), dtype=np.uint8)
    with VideoWriter(
        path, Encoding("libx264", {"preset": "fast", "g": "30"}), width=width, height=height, rate=RATE
    ) as out:
        for number in range(count):
            picture = np.ascontiguousarray(texture[:, number : number + width // 8].repeat(8, 0).repeat(8, 1))
            out.write(VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
    return path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vits", choices=("vits", "vitb", "vitl"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "tf32", "fp16"))
    parser.add_argument("--input-size", type=int, default=98)
    parser.add_argument("--frames", type=int, default=110)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(240, 320), help="HxW")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU, for a model on it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tries", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
