"""Makes depth with the real network: `python depth_threads.py WEIGHTS THREADS OUT [STATE | stop]`.

OUT gets the maps as raw bytes, and OUT.npz the state after the last of them. "stop" ends after the first window; STATE
goes on from there. How many threads torch takes by itself is up to the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from depth_scene import SceneFrames
from episoded.processors.depth.video_model import video_depth_anything

FRAMES = SceneFrames(33)  # 2 windows


def main(weights: Path, threads: int, out: Path, then: str = "") -> None:
    state = dict(np.load(then)) if then not in ("", "stop") else None
    source = video_depth_anything("vits", weights, input_size=98)  # large enough for torch to divide its operations
    pieces = source.maps(FRAMES, state, threads=threads)
    with out.open("wb") as file:
        for piece in pieces:
            for values in piece.maps:
                file.write(values.tobytes())
            np.savez(f"{out}.npz", **piece.state())
            if then == "stop":
                break
    pieces.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
