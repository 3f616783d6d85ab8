"""Runs under an interpreter that has LeRobot: encodes and reads with LeRobot's own functions, told by JSON lines.

{"op": "encode", "jobs": [[images, video], ...], "codec": ..., "options": {...}, "parallel": bool}
{"op": "random", "video": ..., "indices": [...], "fps": ..., "backend": "torchcodec"}
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor

with contextlib.redirect_stdout(sys.stderr):
    import torch
    from lerobot.datasets import video_utils


def encode_one(images: str, video: str, codec: str, options: dict) -> None:
    """LeRobot's `encode_video_frames`; what its table of options lacks (H.264 presets and the like) is added to it."""
    table = video_utils.__dict__.setdefault("_table_of_lerobot", video_utils._get_codec_options)
    video_utils._get_codec_options = lambda *args, **kwargs: {**table(*args, **kwargs), **options}
    video_utils.encode_video_frames(images, video, 30, vcodec=codec, overwrite=True)


def encode(request: dict) -> None:
    """All videos one after another, or a process per camera as `save_episode` does."""
    jobs = [(*job, request["codec"], request["options"]) for job in request["jobs"]]
    if not request["parallel"]:
        for job in jobs:
            encode_one(*job)
        return
    with ProcessPoolExecutor(max_workers=len(jobs)) as pool:
        for future in [pool.submit(encode_one, *job) for job in jobs]:
            future.result()


def read_at_random(request: dict) -> float:
    """CPU milliseconds of one random frame."""
    started = time.process_time()
    for index in request["indices"]:
        stamp = [index / request["fps"]]
        video_utils.decode_video_frames(request["video"], stamp, 1e-4, request["backend"])
    return (time.process_time() - started) / len(request["indices"]) * 1e3


def main() -> None:
    """Answer one line for each line."""
    torch.set_num_threads(1)
    answers = sys.stdout
    sys.stdout = sys.stderr
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        result = encode(request) if request["op"] == "encode" else read_at_random(request)
        print(json.dumps({"result": result}), file=answers, flush=True)


if __name__ == "__main__":
    main()
