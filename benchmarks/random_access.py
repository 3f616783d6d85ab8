"""What a training loader pays for one random frame, by encoder settings: why the `training` profile is what it is.

    python benchmarks/random_access.py --clip street --lerobot-python /path/to/venv/bin/python

Each read opens the file, seeks to the keyframe before the frame and decodes up to it, in one thread, as LeRobot's
loader does with PyAV; with an environment that has LeRobot and torchcodec, also through its own cached decoder.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import av
import clips
from contestants import RATE, SIZE, Job, LeRobot
from encode import quality

from episoded.processors.media.clip import Clip
from episoded.processors.media.concat import join
from episoded.processors.media.frames import FrameReader
from episoded.processors.media.writer import Encoding, VideoWriter

TRAINING = "x264, g 2, no B frames, CAVLC (`training`)"
X264 = {"preset": "fast", "crf": "23"}
VARIANTS = {
    "x264, g 250 (`brief`)": ("libx264", {**X264, "g": "250"}),
    "x264, g 2": ("libx264", {**X264, "g": "2"}),
    "x264, g 2, no B frames": ("libx264", {**X264, "g": "2", "bf": "0"}),
    TRAINING: ("libx264", {**X264, "g": "2", "bf": "0", "coder": "cavlc"}),
    "x264, g 2, no B frames, tune fastdecode": ("libx264", {**X264, "g": "2", "bf": "0", "tune": "fastdecode"}),
    "the same at crf 22": ("libx264", {**X264, "crf": "22", "g": "2", "bf": "0", "tune": "fastdecode"}),
    "SVT-AV1 preset 12, crf 30, g 2 (`lerobot`)": ("libsvtav1", {"preset": "12", "crf": "30", "g": "2"}),
}
READS = 60
REPEATS = 3
#: Episodes in one file, as LeRobot v3.0 keeps them.
JOINED = 100


def read(path: Path, index: int) -> None:
    """One frame as RGB."""
    stamp = index / RATE
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        stream.codec_context.thread_count = 1
        container.seek(int(stamp / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            assert frame.pts is not None
            if frame.pts * stream.time_base >= stamp:
                frame.to_ndarray(format="rgb24")
                return


def read_all(path: Path, indices: list[int]) -> float:
    """CPU milliseconds of one frame: the lowest of a few passes."""
    passes = []
    for _ in range(REPEATS):
        started = time.process_time()
        for index in indices:
            read(path, index)
        passes.append((time.process_time() - started) / len(indices) * 1e3)
    return min(passes)


def write(job: Job, codec: str, options: dict[str, str]) -> float:
    """Encode the clip; CPU milliseconds of a frame for encoding alone."""
    source = FrameReader()
    frames = [source.read(path).video for path in sorted(job.images.glob("*.png"))]
    started = time.process_time()
    with VideoWriter(job.video, Encoding(codec, options), width=SIZE[0], height=SIZE[1], rate=RATE) as writer:
        for frame in frames:
            writer.write(frame)
    return (time.process_time() - started) / len(frames) * 1e3


def read_joined(video: Path, frames: int) -> float:
    """CPU milliseconds of one frame in a file of many episodes: its index is longer, and is read at each opening."""
    path = video.with_name("joined.mp4")
    join([Clip(video, 0, frames)] * JOINED, path, RATE)
    chance = random.Random(2)
    return read_all(path, [chance.randrange(frames * JOINED) for _ in range(READS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", choices=list(clips.CLIPS), default="robot")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--lerobot-python", type=Path, help="interpreter of an environment with lerobot and torchcodec")
    given = parser.parse_args()
    chance = random.Random(1)
    indices = [chance.randrange(given.frames) for _ in range(READS)]
    lerobot = LeRobot(given.lerobot_python, "training") if given.lerobot_python is not None else None
    with tempfile.TemporaryDirectory(prefix="bench-random-") as temporary:
        (images,), source = clips.prepare(Path(temporary), given.clip, 1, given.frames)
        print(f"{source}, {given.frames} frames of {SIZE[0]}x{SIZE[1]}\n")
        print("| settings | kB/frame | RGB PSNR dB | encode ms | random frame ms (PyAV) | (LeRobot, torchcodec) |")
        print("|---|---|---|---|---|---|")
        for number, (name, (codec, options)) in enumerate(VARIANTS.items()):
            job = Job(images, Path(temporary) / f"{number}.mp4")  # LeRobot keeps a decoder for each name
            encode_ms = write(job, codec, options)
            size, psnr = job.video.stat().st_size / given.frames / 1e3, quality(job)["psnr"]
            request = {"op": "random", "video": str(job.video), "indices": indices, "fps": 30, "backend": "torchcodec"}
            torchcodec = f"{min(lerobot.ask(request) for _ in range(REPEATS)):.1f}" if lerobot else ""
            random_ms = read_all(job.video, indices)
            print(
                f"| {name} | {size:.1f} | {psnr:.2f} | {encode_ms:.1f} | {random_ms:.1f} | {torchcodec} |", flush=True
            )
            if name == TRAINING:
                training = job.video
        joined_ms = read_joined(training, given.frames)
        print(f"\n`training`, {JOINED} episodes in one file: {joined_ms:.1f} ms (PyAV)")
    if lerobot is not None:
        lerobot.close()


if __name__ == "__main__":
    main()
