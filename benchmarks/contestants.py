"""Who encodes: this project's stage and its parts, the ffmpeg command line, LeRobot's loop and LeRobot itself.

All of them get the same PNGs and the same encoder settings, and write one MP4 for each folder of frames.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import av
import structlog
from PIL import Image

from episoded.processors.base import StageContext
from episoded.processors.encode.encoders import plan
from episoded.processors.encode.ordered import ahead, one_by_one
from episoded.processors.encode.params import EncodeParams
from episoded.processors.encode.stage import EncodeProcessor
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.media.frames import FrameReader
from episoded.processors.media.writer import VideoWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from episoded.processors.media.png import Png

RATE = Fraction(30)
SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class Job:
    """One video to make: a folder of `frame_%06d.png` and where the MP4 goes."""

    images: Path
    video: Path


class PlainReader(FrameReader):
    """The same reading without libdeflate: libavcodec inflates with the zlib that it links."""

    def _rewrapped(self, source: Png) -> bytes:
        return source.path.read_bytes()


READERS: dict[str, type[FrameReader]] = {"libdeflate": FrameReader, "zlib": PlainReader}


def settings_of(profile: str) -> tuple[str, dict[str, str]]:
    """The encoder and the options that all contestants get; how many threads they use is their own affair."""
    encoding = plan(EncodeParams(profile=profile), SIZE, 1, None).encoding
    return encoding.codec, {key: value for key, value in encoding.options.items() if key != "svtav1-params"}


def encode_only(job: Job, profile: str, threads: int, reader: str) -> None:
    """This project's pipeline from PNG to MP4, without statistics and without reading the result back."""
    encoding = plan(EncodeParams(profile=profile), SIZE, threads, None).encoding
    paths, source = sorted(job.images.glob("*.png")), READERS[reader](encoding.pix_fmt)
    in_order = one_by_one if threads <= 1 else ahead
    writer = VideoWriter(job.video, encoding, width=SIZE[0], height=SIZE[1], rate=RATE)
    with closing(in_order(lambda k: source.read(paths[k], k), len(paths))) as frames, writer:
        for frame in frames:
            writer.write(frame.video)


def whole_stage(job: Job, profile: str, threads: int) -> None:
    """What the daemon runs: the above with statistics, duplicate detection and the video read back frame by frame."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    paths = tuple(sorted(job.images.glob("*.png")))
    root = job.video.parent
    camera = Camera("camera", FrameSource(job.images, paths), PurePosixPath("none/none/none.mp4"))
    episode = Episode(root, root, "0", 0, len(paths), RATE, (camera,))
    stage, params = EncodeProcessor(), EncodeParams(profile=profile)
    scratch = root / f"scratch-{job.video.name}"
    scratch.mkdir(exist_ok=True)
    context = StageContext(episode, scratch, params, structlog.get_logger(), threads=threads)
    (unit,) = stage.units(episode, params)
    (artifact,) = stage.run(unit, context)
    artifact.path.replace(job.video)


def lerobot_loop(job: Job, profile: str) -> None:
    """The loop of LeRobot's `encode_video_frames` on the same PyAV as ours: Pillow, `from_image`, PyAV's defaults."""
    codec, options = settings_of(profile)
    with av.open(str(job.video), "w", format="mp4") as output:
        stream = output.add_stream(codec, 30, options=options)
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = SIZE
        for path in sorted(job.images.glob("*.png")):
            with Image.open(path) as image:
                frame = av.VideoFrame.from_image(image.convert("RGB"))
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)


class Workers:
    """Processes that stay, as the daemon's do: one for each core, each working on one video at a time."""

    def __init__(self) -> None:
        self.count = len(os.sched_getaffinity(0))
        self._pool = ProcessPoolExecutor(self.count, mp_context=get_context("spawn"))

    def each(self, work: Callable[..., None], jobs: Sequence[Job], *rest: Any) -> None:
        """All jobs at once, as far as there are workers."""
        for future in [self._pool.submit(work, job, *rest) for job in jobs]:
            future.result()

    def in_turn(self, work: Callable[..., None], jobs: Sequence[Job], *rest: Any) -> None:
        """One job after another."""
        for job in jobs:
            self._pool.submit(work, job, *rest).result()

    def peak_rss_mb(self) -> float:
        """The largest peak of resident memory of the processes so far."""
        return max(future.result() for future in [self._pool.submit(_peak_rss_mb) for _ in range(4 * self.count)])

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


def _peak_rss_mb() -> float:
    """From /proc: `ru_maxrss` counts what the parent held when it started this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


class Ffmpeg:
    """An ffmpeg binary, used as the offload brief uses it."""

    def __init__(self, binary: str, profile: str) -> None:
        self._binary = binary
        self._codec, options = settings_of(profile)
        self._options = [word for key, value in options.items() for word in (f"-{key}", value)]
        banner = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stdout
        self.version = banner.split()[2].removeprefix("n").split("-")[0]

    def _command(self, job: Job, threads: int | None) -> list[str]:
        images = ["-framerate", "30", "-i", str(job.images / "frame_%06d.png")]
        limit = [] if threads is None else ["-threads", str(threads)]
        output = ["-c:v", self._codec, *self._options, "-pix_fmt", "yuv420p", *limit, "-f", "mp4", str(job.video)]
        return [self._binary, "-v", "error", "-y", "-nostdin", *images, *output]

    def in_turn(self, jobs: Sequence[Job]) -> None:
        """One command after another, each with as many threads as ffmpeg likes."""
        for job in jobs:
            subprocess.run(self._command(job, None), check=True)

    def side_by_side(self, jobs: Sequence[Job]) -> None:
        """All commands at once with one encoder thread each."""
        running = [subprocess.Popen(self._command(job, 1)) for job in jobs]
        if any(process.wait() for process in running):
            raise RuntimeError("ffmpeg failed")


class LeRobot:
    """The real package, in a process of its own interpreter that stays."""

    def __init__(self, python: Path, profile: str) -> None:
        codec, options = settings_of(profile)
        self._settings = {"codec": {"libx264": "h264"}.get(codec, codec), "options": options}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        command = [str(python), str(Path(__file__).with_name("lerobot_worker.py"))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def encode(self, jobs: Sequence[Job], *, parallel: bool) -> None:
        """With LeRobot's `encode_video_frames`, in turn or in a process per camera."""
        pairs = [[str(with_dashes(job.images)), str(job.video)] for job in jobs]
        self.ask({"op": "encode", "jobs": pairs, "parallel": parallel, **self._settings})

    def ask(self, request: dict[str, Any]) -> Any:
        """Send one request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer().get("result")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the LeRobot process died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def with_dashes(images: Path) -> Path:
    """The same frames under the names of LeRobot's v3 recorder."""
    folder = images.with_name(f"{images.name}-dashes")
    if not folder.exists():
        folder.mkdir()
        for path in images.glob("*.png"):
            (folder / path.name.replace("_", "-")).hardlink_to(path)
    return folder


def newest_ffmpeg() -> str | None:
    """The static binary of the imageio-ffmpeg package, if that is installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def installed_ffmpeg() -> str | None:
    """The binary on PATH."""
    return shutil.which("ffmpeg")
