"""How fast PNG frames become an MP4, against ffmpeg and LeRobot at equal settings and equal pictures.

    python benchmarks/encode.py                        # what is installed competes
    python benchmarks/encode.py --profile training --rounds 3 --lerobot-python /path/to/venv/bin/python

Before anything is timed every contestant's video must hold every frame, and none may be smaller by 2 % or better by
0.1 dB than this project's: nobody wins by a poorer picture. Ratios are medians over paired rounds. The machine's limit
is computed from the CPU seconds of the parts, measured alone in the same run, so that a slow machine cannot fake a
good result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
import clips
import measuring
import numpy as np
from contestants import (
    RATE,
    SIZE,
    Ffmpeg,
    Job,
    LeRobot,
    Workers,
    encode_only,
    installed_ffmpeg,
    lerobot_loop,
    newest_ffmpeg,
    settings_of,
    whole_stage,
)
from PIL import Image

from episoded.processors.encode.encoders import plan
from episoded.processors.encode.params import PROFILES, EncodeParams
from episoded.processors.media import video
from episoded.processors.media.frames import FrameReader
from episoded.processors.media.writer import VideoWriter

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG, BACKLOG_ZLIB, BACKLOG_STAGE = "this project, backlog", "same without deflate", "same, whole stage"
ALONE, ALONE_STAGE = "this project, one camera", "same, whole stage, one camera"
OURS = (BACKLOG, BACKLOG_ZLIB, BACKLOG_STAGE, ALONE, ALONE_STAGE)


@dataclass(frozen=True, slots=True)
class Limit:
    """CPU milliseconds of one frame, part by part and alone, and the frames per second that the cores could do."""

    load_ms: float
    encode_ms: float
    fps: float


class Field:
    """Everybody who takes part, with the work that each does in a round."""

    def __init__(self, jobs: list[Job], profile: str, lerobot: Path | None) -> None:
        self._profile = profile
        self._jobs = jobs
        self.workers = Workers()
        self.lerobot = LeRobot(lerobot, profile) if lerobot is not None else None
        self.contestants: dict[str, Callable[[], object]] = {}
        self.peak_rss_mb = 0.0
        self._enter_ours()
        if settings_of(profile)[0] == "libx264":  # other builds of SVT-AV1 make other pictures
            for binary, several in ((installed_ffmpeg(), False), (newest_ffmpeg(), True)):
                if binary is not None:
                    self._enter_ffmpeg(Ffmpeg(binary, profile), several=several)
        self._enter_lerobot()

    def _enter_ours(self) -> None:
        each, jobs, profile = self.workers.each, self._jobs, self._profile
        self.contestants |= {
            BACKLOG: partial(each, encode_only, jobs, profile, 1, "libdeflate"),
            BACKLOG_ZLIB: partial(each, encode_only, jobs, profile, 1, "zlib"),
            BACKLOG_STAGE: partial(each, whole_stage, jobs, profile, 1),
            ALONE: partial(each, encode_only, jobs[:1], profile, self.workers.count, "libdeflate"),
            ALONE_STAGE: partial(each, whole_stage, jobs[:1], profile, self.workers.count),
        }

    def _enter_ffmpeg(self, ffmpeg: Ffmpeg, *, several: bool) -> None:
        name = f"ffmpeg {ffmpeg.version}"
        self.contestants[f"{name}, in turn"] = partial(ffmpeg.in_turn, self._jobs)
        if several:
            self.contestants[f"{name}, side by side"] = partial(ffmpeg.side_by_side, self._jobs)

    def _enter_lerobot(self) -> None:
        jobs, profile = self._jobs, self._profile
        self.contestants["LeRobot's loop, in turn"] = partial(self.workers.in_turn, lerobot_loop, jobs, profile)
        self.contestants["LeRobot's loop, process per camera"] = partial(self.workers.each, lerobot_loop, jobs, profile)
        if self.lerobot is not None:
            self.contestants["LeRobot itself, in turn"] = partial(self.lerobot.encode, jobs, parallel=False)
            self.contestants["LeRobot itself, process per camera"] = partial(self.lerobot.encode, jobs, parallel=True)

    def close(self) -> None:
        """End every process that was kept."""
        self.workers.close()
        if self.lerobot is not None:
            self.lerobot.close()


def gate(field: Field, jobs: list[Job]) -> dict[str, dict[str, float]]:
    """Run everybody once, and compare what they made: frames, bytes, RGB PSNR of the first camera's video.

    Whoever makes a larger or poorer one is marked in the table (PyAV's default threads, as LeRobot uses them, cost up
    to 2 % and 0.1 dB); whoever makes a better one ends the benchmark. LeRobot itself brings its own builds of the
    encoders: it is measured, and marked where it differs.
    """
    made: dict[str, dict[str, float]] = {}
    for name, work in field.contestants.items():
        if name not in OURS and not field.peak_rss_mb:
            field.peak_rss_mb = field.workers.peak_rss_mb()  # before LeRobot's loop runs in the same processes
        for job in jobs:
            job.video.unlink(missing_ok=True)
        work()
        made[name] = {"bytes": jobs[0].video.stat().st_size, **quality(jobs[0])}
        print(f"  {name:42s} {made[name]['bytes']:9d} bytes  {made[name]['psnr']:.2f} dB", file=sys.stderr)
        if made[name]["frames"] != len(list(jobs[0].images.iterdir())):
            sys.exit(f"{name} lost frames: {made[name]['frames']}")
    ours = made[BACKLOG]
    for name, theirs in made.items():
        larger, better = theirs["bytes"] / ours["bytes"] - 1, theirs["psnr"] - ours["psnr"]
        theirs["equal"] = abs(larger) < 0.02 and abs(better) < 0.1
        if (larger < -0.02 or better > 0.1) and "itself" not in name:
            sys.exit(f"{name} makes a better video than this project, so that timing says nothing: {theirs}, {ours}")
    return made


def quality(job: Job) -> dict[str, float]:
    """Frames of a video, and its RGB PSNR against every tenth PNG."""
    errors, count = [], 0
    for index, frame in enumerate(video.frames(job.video)):
        count += 1
        if index % 10 == 0:
            png = np.asarray(Image.open(job.images / f"frame_{index:06d}.png"))
            errors.append(np.mean((frame.to_ndarray(format="rgb24").astype(np.int32) - png) ** 2))
    return {"frames": count, "psnr": float(10 * np.log10(255**2 / np.mean(errors)))}


def limit(job: Job, profile: str, cores: int) -> Limit:
    """What the parts cost alone, each in one thread of this process."""
    encoding = plan(EncodeParams(profile=profile), SIZE, 1, None).encoding
    reader, paths = FrameReader(encoding.pix_fmt), sorted(job.images.glob("*.png"))
    for path in paths[:20]:
        reader.read(path)
    started = time.process_time()
    frames = [reader.read(path).video for path in paths]
    load = (time.process_time() - started) / len(paths) * 1e3
    started = time.process_time()
    with VideoWriter(job.video, encoding, width=SIZE[0], height=SIZE[1], rate=RATE) as writer:
        for frame in frames:
            writer.write(frame)
    encode = (time.process_time() - started) / len(paths) * 1e3
    return Limit(load, encode, 1000 * cores / (load + encode))


def report(results: dict, frames: int, cameras: int) -> str:
    """The tables of docs/performance.md."""
    samples = {name: [measuring.Sample(**one) for one in taken] for name, taken in results["samples"].items()}
    lines = ["| who | frames/s | CPU ms/frame | of the limit |", "|---|---|---|---|"]
    for name, taken in samples.items():
        total = frames * (1 if name in (ALONE, ALONE_STAGE) else cameras)
        wall, cpu = (float(np.median([getattr(sample, what) for sample in taken])) for what in ("wall", "cpu"))
        share = f"{total / wall / results['limit']['fps']:.0%}" if name in OURS else ""
        note = "" if results["gate"][name]["equal"] else " (other pictures)"
        lines.append(f"| {name}{note} | {total / wall:.0f} | {cpu / total * 1e3:.1f} | {share} |")
    lines += ["", "| against | backlog (lowest to highest round) | by CPU | one camera |", "|---|---|---|---|"]
    for name, taken in samples.items():
        if name in OURS:
            continue
        backlog = _shown(measuring.ratio(samples[BACKLOG], taken))
        by_cpu = measuring.ratio(samples[BACKLOG], taken).cpu
        alone = _shown(measuring.ratio(samples[ALONE], taken, 1 / cameras)) if "in turn" in name else ""
        lines.append(f"| {name} | {backlog} | {by_cpu:.2f} | {alone} |")
    zlib = measuring.ratio(samples[BACKLOG], samples[BACKLOG_ZLIB])
    lines.append(f"| {BACKLOG_ZLIB} | {_shown(zlib)} | {zlib.cpu:.2f} | |")
    costs = [measuring.ratio(samples[a], samples[b]) for a, b in ((BACKLOG, BACKLOG_STAGE), (ALONE, ALONE_STAGE))]
    told = ", ".join(f"{cost.cpu - 1:+.0%} CPU and {cost.median - 1:+.0%} time" for cost in costs)
    return "\n".join([*lines, "", f"Statistics and reading back cost (backlog, one camera): {told}"])


def _shown(ratio: measuring.Ratio) -> str:
    return f"**{ratio.median:.2f}** ({ratio.lowest:.2f} to {ratio.highest:.2f})"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=list(PROFILES), default="brief")
    parser.add_argument("--clip", choices=list(clips.CLIPS), default="robot")
    parser.add_argument("--cameras", type=int, default=2, help="videos in the backlog")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tries", type=int, default=2, help="runs at most when other processes disturb")
    parser.add_argument("--lerobot-python", type=Path, help="interpreter of an environment with lerobot 0.4")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-encode-") as temporary:
        folder = Path(temporary)
        images, source = clips.prepare(folder, given.clip, given.cameras, given.frames)
        jobs = [Job(path, folder / f"{path.name}.mp4") for path in images]
        field = Field(jobs, given.profile, given.lerobot_python)
        try:
            print(f"{source}, {given.cameras} x {given.frames} frames, profile {given.profile}", file=sys.stderr)
            gated = gate(field, jobs)
            alone = limit(jobs[0], given.profile, field.workers.count)
            samples = measuring.rounds(field.contestants, given.rounds, given.tries, _tell)
        finally:
            field.close()
    results = {
        "source": source,
        "profile": given.profile,
        "machine": measuring.machine(),
        "versions": {"av": av.__version__, "libav": av.ffmpeg_version_info},
        "peak_rss_mb": field.peak_rss_mb,
        "gate": gated,
        "limit": asdict(alone),
        "samples": measuring.as_json(samples),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"encode-{given.profile}-{given.clip}.json"
    path.write_text(json.dumps(results, indent=1))
    others = [sample.others for taken in samples.values() for sample in taken]
    print(report(results, given.frames, given.cameras))
    print(
        f"\nlimit {alone.fps:.0f} frames/s (load {alone.load_ms:.2f} + encode {alone.encode_ms:.2f} ms of CPU a frame)"
    )
    print(f"peak memory of a worker: {field.peak_rss_mb:.0f} MB")
    print(f"others kept {np.mean(others):.2f} cores busy on average, {max(others):.2f} at most; written to {path}")


if __name__ == "__main__":
    main()
