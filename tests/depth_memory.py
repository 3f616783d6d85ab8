"""Makes depth of a whole video and says what memory that took: `python depth_memory.py VIDEO FOLDER LEAK`.

The whole way: decoding ahead in a thread, a small network with random weights, alignment and cross-fade, FFV1, and a
checkpoint every few windows. LEAK bytes are kept for each frame, to show that the measurement would notice.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from episoded.processors.depth.codes import DisparityCodes
from episoded.processors.depth.engine import Engine
from episoded.processors.depth.frames import look_at
from episoded.processors.depth.net import Architecture, VideoDepthNet
from episoded.processors.depth.video_model import VideoModelSource
from episoded.processors.media import ffv1

if TYPE_CHECKING:
    from episoded.processors.depth.model import WindowModel

TINY = Architecture(32, 4, 2, (0, 1, 2, 3), 32, (32, 32, 32, 32))
WARM_UP = 100  # frames
SEGMENT = 10  # windows: then a new file, and a checkpoint
CODES = DisparityCodes(1.0)


class TinySpec:
    def load(self, device: str, _threads: int = 1) -> WindowModel:
        torch.manual_seed(1)
        engine = Engine(VideoDepthNet(TINY), "tiny", device, 28)
        engine._group, engine._head_batch = 11, 16  # as on a GPU: quicker for a network this small
        return engine


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(name)


def growth(samples: list[tuple[int, int]]) -> float:
    """KiB a frame. Of each stretch the lowest counts: what threads hold for a moment is above it."""
    stretches = [samples[start : start + SEGMENT] for start in range(0, len(samples) - SEGMENT + 1, SEGMENT)]
    frames, lowest = zip(*(min(stretch, key=lambda sample: sample[1]) for stretch in stretches), strict=True)
    return float(np.polyfit(np.array(frames, np.float64), np.array(lowest, np.float64), 1)[0])


def main(video: Path, folder: Path, leak: int) -> None:
    torch.set_num_threads(1)
    frames = look_at(video)
    pieces = VideoModelSource(TinySpec(), "disparity_relative", "anchored", {}).maps(frames)
    kept: list[bytes] = []
    samples: list[tuple[int, int]] = []
    blocks: list[int] = []
    done = 0
    while segment := list(islice(pieces, 1)):
        with ffv1.DepthWriter(folder / "seg.mkv", height=frames.height, width=frames.width, rate=frames.rate) as writer:
            for piece in chain(segment, islice(pieces, SEGMENT - 1)):
                for values in piece.maps:
                    writer.write(CODES.encode(values)[0])
                    kept += [bytes(leak)] if leak else []
                done += len(piece.maps)
                if done < 2 * WARM_UP:
                    time.sleep(0.1)  # the decoding thread fills whatever it may fill
                if done > WARM_UP and not samples:
                    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
                if done > WARM_UP:
                    samples.append((done, memory("VmRSS")))
            np.savez(folder / "state.npz", **piece.state())
        gc.collect()
        blocks.append(sys.getallocatedblocks())  # gc.get_objects() would show tuples that a thread is still making
        segment.clear()
    slope = growth(samples[len(samples) // 3 :]) if len(samples) > 4 * SEGMENT else 0.0
    print(json.dumps({"frames": done, "peak_kib": memory("VmHWM"), "kib_per_frame": slope, "blocks": blocks[1:]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
