"""A camera's frames become a video with exactly those frames."""

import hashlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path, PurePosixPath

import av
import numpy as np
import pytest
from PIL import Image

from camera_episode import (
    DATA,
    KEY,
    Recorded,
    context,
    needs_data,
    needs_ffmpeg,
    recorded,  # noqa: F401 - a fixture
    run,
    run_in,
    scene,
)
from episoded.processors.encode.ordered import WINDOW, ahead
from episoded.processors.encode.params import PROFILES
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.media import video

# ---- what comes out


@needs_data
@pytest.mark.parametrize("threads", [1, 2])
def test_a_real_episode_becomes_its_video(threads: int, tmp_path: Path) -> None:
    folder = DATA / "pending/g1_v21/images/observation.images.cam_high/episode_000001"
    paths = tuple(sorted(folder.glob("*.png")))
    camera = Camera("observation.images.cam_high", FrameSource(folder, paths), PurePosixPath("a/b/c.mp4"), (480, 640))
    episode = Episode(tmp_path, tmp_path, "1", 1, 40, Fraction(30), (camera,))
    artifact = run(episode, threads)
    facts = artifact.facts
    assert (facts["frames"], facts["width"], facts["height"], facts["fps"]) == (40, 640, 480, "30")
    assert (facts["codec"], facts["pix_fmt"], facts["adopted"]) == ("h264", "yuv420p", False)
    assert facts["psnr_db"]["min"] > 38
    assert facts["duplicates"] == 19  # the robot stands still: 21 distinct pictures
    assert not facts["constant"]
    assert facts["bytes_in"] == sum(path.stat().st_size for path in paths)
    assert facts["bytes_out"] == artifact.path.stat().st_size
    pictures = [frame.to_ndarray(format="rgb24") for frame in video.frames(artifact.path)]
    assert len(pictures) == 40
    for picture, path in zip(pictures, paths, strict=True):
        difference = picture.astype(float) - np.asarray(Image.open(path))
        assert 10 * np.log10(255**2 / np.mean(difference**2)) > 34, path


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_frame_is_in_its_place(threads: int, recorded: Recorded) -> None:
    episode = recorded(40)
    artifact = run(episode, threads)
    columns = [int(np.argmax(frame.to_ndarray()[14] > 200)) for frame in video.frames(artifact.path)]
    assert columns == [2 * k for k in range(40)]


def test_the_result_waits_in_scratch_under_a_name_that_no_recorder_counts(recorded: Recorded) -> None:
    episode = recorded()
    ctx = context(episode)
    artifact = run_in(ctx)
    assert artifact.path.parent == ctx.scratch
    assert artifact.path.suffix not in (".mp4", ".parquet")
    assert artifact.target == episode.cameras[0].video
    assert not (episode.output / artifact.target).exists()


def test_progress_counts_every_frame(recorded: Recorded) -> None:
    seen: list[tuple[int, int]] = []
    run_in(context(recorded(12), progress=lambda done, total: seen.append((done, total))))
    assert [done for done, _ in seen[:12]] == list(range(1, 13))
    assert {total for _, total in seen} == {12}


@pytest.mark.parametrize("fps", [Fraction(10), Fraction(30000, 1001), Fraction(33360, 1411)])
def test_frames_lie_on_the_grid_of_the_episodes_rate(fps: Fraction, recorded: Recorded) -> None:
    artifact = run(recorded(fps=fps))
    assert [frame.pts * frame.time_base for frame in video.frames(artifact.path)] == [k / fps for k in range(12)]
    assert video.probe(artifact.path).fps == fps
    assert artifact.facts["fps"] == str(fps)


def test_an_episode_of_one_frame_is_an_episode(recorded: Recorded) -> None:
    facts = run(recorded(1)).facts
    assert (facts["frames"], facts["duplicates"], facts["constant"]) == (1, 0, False)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_writes_what_it_says(profile: str, recorded: Recorded) -> None:
    artifact = run(recorded(20), profile=profile)
    settings, facts = PROFILES[profile], artifact.facts
    assert facts["encoder"]["codec"] == settings.codec
    assert facts["codec"] == {"libx264": "h264", "libsvtav1": "av1"}[settings.codec]
    with av.open(str(artifact.path)) as container:
        keyframes = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert keyframes == -(-20 // settings.gop)


def test_the_training_profile_can_be_read_frame_by_frame(recorded: Recorded) -> None:
    data = run(recorded()).path.read_bytes()
    for setting in (b"keyint=2 ", b"bframes=0 ", b"cabac=0 ", b"crf=23.0 ", b"deblock=1:0:0 "):
        assert setting in data


def test_the_same_frames_give_the_same_bytes(recorded: Recorded) -> None:
    episode = recorded()
    assert run(episode).path.read_bytes() == run(episode).path.read_bytes()


@needs_data
@needs_ffmpeg
@pytest.mark.parametrize(("threads", "x264_threads"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("profile", ["training", "brief"])
def test_the_pictures_are_those_of_the_ffmpeg_command_line(
    profile: str, threads: int, x264_threads: int, tmp_path: Path
) -> None:
    folder = DATA / "pending/g1_v21/images/observation.images.cam_high/episode_000000"
    paths = tuple(sorted(folder.glob("*.png")))
    camera = Camera(KEY, FrameSource(folder, paths), PurePosixPath("a/b/c.mp4"))
    artifact = run(Episode(tmp_path, tmp_path, "0", 0, len(paths), Fraction(30), (camera,)), threads, profile=profile)
    options = [word for key, value in artifact.facts["encoder"]["options"].items() for word in (f"-{key}", value)]
    theirs = tmp_path / "theirs.mkv"
    command = ["ffmpeg", "-v", "error", "-framerate", "30", "-i", str(folder / "frame_%06d.png"), "-c:v", "libx264"]
    subprocess.run([*command, *options, "-pix_fmt", "yuv420p", "-threads", str(x264_threads), theirs], check=True)
    digests = [
        [hashlib.md5(frame.to_ndarray()).hexdigest() for frame in video.frames(path)]
        for path in (artifact.path, theirs)
    ]
    assert digests[0] == digests[1]


# ---- how it works


def test_results_made_ahead_come_in_order_and_never_too_many() -> None:
    started: list[int] = []

    def produce(index: int) -> int:
        started.append(index)
        return index

    results = ahead(produce, 100)
    for expected in range(50):
        assert next(results) == expected
        assert len(started) <= expected + WINDOW
    results.close()
    assert len(started) <= 50 + WINDOW
    assert list(ahead(produce, 3)) == [0, 1, 2]


def test_an_error_surfaces_at_its_own_index() -> None:
    def produce(index: int) -> int:
        if index == 4:
            raise ValueError("at 4")
        return index

    results = ahead(produce, 20)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="at 4"):
        next(results)


PEAK = """
import sys
from pathlib import Path, PurePosixPath
from fractions import Fraction
import structlog
from episoded.processors.base import StageContext
from episoded.processors.encode.params import EncodeParams
from episoded.processors.encode.stage import EncodeProcessor
from episoded.processors.episode import Camera, Episode, FrameSource
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
root, count, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
paths = tuple(sorted(root.glob("*.png")))
paths = tuple(paths[k % len(paths)] for k in range(count))
camera = Camera("top", FrameSource(root, paths), PurePosixPath("a/b/c.mp4"))
episode = Episode(root, root, "0", 0, count, Fraction(30), (camera,))
stage, params = EncodeProcessor(), EncodeParams(profile="brief")
(unit,) = stage.units(episode, params)
stage.run(unit, StageContext(episode, root, params, structlog.get_logger(), threads=threads))
# Not ru_maxrss: that starts with what the parent held.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_does_not_grow_with_the_length_of_the_episode(threads: int, tmp_path: Path) -> None:
    for k in range(10):
        scene(k, 320, 240).save(tmp_path / f"{k}.png", compress_level=1)

    def peak_kib(frames: int) -> int:
        command = [sys.executable, "-c", PEAK, str(tmp_path), str(frames), str(threads)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    short, long = peak_kib(150), peak_kib(600)
    # 450 frames are 52 MB as the encoder sees them, 104 MB as RGB.
    assert long - short < 10_000, f"{short} KiB for 150 frames, {long} KiB for 600"
    assert long < 400_000
