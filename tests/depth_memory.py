"""Makes depth of a whole video and says what memory that took: `python depth_memory.py VIDEO FOLDER LEAK`.

The whole stage: frames counted beside it, decoding ahead in a thread, a small network with random weights, alignment
and cross-fade, FFV1, each packet decoded again, a preview, and a checkpoint every few windows. LEAK bytes are kept for
each frame, to show that the measurement would notice.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys
import time
from fractions import Fraction
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import torch

from episoded.processors.depth import ladder
from episoded.processors.depth.engine import Engine
from episoded.processors.depth.net import Architecture, VideoDepthNet
from episoded.processors.depth.params import DepthParams
from episoded.processors.depth.stage import DepthProcessor
from episoded.processors.depth.video_model import VideoModelSource
from episoded.processors.episode import Camera, Episode
from known_depth import context

if TYPE_CHECKING:
    from episoded.processors.depth.model import WindowModel

TINY = Architecture(32, 4, 2, (0, 1, 2, 3), 32, (32, 32, 32, 32))
WARM_UP = 100  # frames
WINDOW, FIRST = 22, 24  # frames of a piece, and of the first one
STEP = 5 * WINDOW  # frames between two looks: each at one of two places in a segment
SEGMENT = 220  # frames: then a new file, and a checkpoint


LIBC = ctypes.CDLL(None)


class TinySpec:
    def load(self, device: str, _threads: int = 1) -> WindowModel:
        torch.manual_seed(1)
        engine = Engine(VideoDepthNet(TINY), "tiny", device, 28)
        engine._group, engine._head_batch = 11, 16  # as on a GPU: quicker for a network this small
        return engine


class Watch:
    """Looks at the memory as the frames go by; keeps `leak` bytes of each."""

    def __init__(self, leak: int) -> None:
        self.leak, self.kept, self.done = leak, [], 0
        self.samples: list[tuple[int, int]] = []
        self.blocks: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        if done <= self.done:
            return
        self.done = done
        self.kept += [bytes(self.leak)] if self.leak else []
        if done < 2 * WARM_UP:
            time.sleep(0.003)  # the threads before and behind fill whatever they may fill
        if done == WARM_UP:
            Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
        if WARM_UP < done < total - STEP and (done - FIRST) % STEP == 0:  # at the end less is ahead
            wait_until_quiet()
            LIBC.malloc_trim(0)
            self.samples.append((done, memory("VmRSS")))
        if done % SEGMENT == 0:
            gc.collect()
            self.blocks.append(sys.getallocatedblocks())  # gc.get_objects() would show what threads are still making


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(name)


def wait_until_quiet() -> None:
    """Until every thread has filled, or emptied, what it may, and waits for another.

    What they hold on the way, and the free pages that the allocator keeps, come and go by megabytes, which would hide a
    small leak among a few thousand frames.
    """
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.03)
        if time.process_time() - before < 0.002:
            return


def growth(samples: list[tuple[int, int]]) -> float:
    """KiB a frame: the median slope between any two looks (Theil and Sen). One at a bad moment does not move it."""
    pairs = combinations(samples, 2)
    return statistics.median((late - early) / (then - before) for (before, early), (then, late) in pairs)


def main(video: Path, folder: Path, leak: int) -> None:
    torch.set_num_threads(1)
    ladder.WAYS["video"] = lambda case: ladder.Way(
        VideoModelSource(TinySpec(), "disparity_relative", "anchored", {"model": "tiny"}), case.frames
    )
    watch, camera = Watch(leak), Camera("top", None, PurePosixPath(video.name))
    of = Episode(video.parent, folder, "long", 0, 0, Fraction(30), (camera,))
    ctx = context(of, folder / "scratch", DepthParams(segment_frames=SEGMENT), progress=watch)
    processor = DepthProcessor()
    (unit,) = processor.units(of, ctx.params)
    processor.run(unit, ctx)
    samples = watch.samples
    slope = growth(samples[len(samples) // 4 :]) if len(samples) > 16 else 0.0
    found = {"frames": watch.done, "peak_kib": memory("VmHWM"), "kib_per_frame": slope, "blocks": watch.blocks[2:]}
    if len(sys.argv) > 4:
        found["samples"] = samples
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
