"""A camera's frames become a video with exactly those frames, or the episode fails with the file and frame named."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest
import structlog
from PIL import Image
from pydantic import ValidationError

from episoded.processors.base import Artifact, StageContext
from episoded.processors.encode.encoders import refusal
from episoded.processors.encode.fidelity import LARGEST_SHIFT, psnr, reference, shift
from episoded.processors.encode.ordered import WINDOW, ahead
from episoded.processors.encode.params import PROFILES, EncodeParams
from episoded.processors.encode.stage import EncodeProcessor
from episoded.processors.episode import Camera, Episode, FrameSource
from episoded.processors.errors import Cancelled, DiskFullError, EpisodedError, InputError
from episoded.processors.lerobot.picture_statistics import sample_indices
from episoded.processors.media import video
from episoded.processors.media.writer import Encoding, VideoWriter

DATA = Path(os.environ.get("EPISODED_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (EPISODED_TEST_DATA)")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command to compare with")
STAGE = EncodeProcessor()
KEY = "observation.images.top"

Recorded = Callable[..., Episode]


def scene(index: int, width: int = 96, height: int = 64) -> Image.Image:
    """A coloured slope with a bright square that moves: compresses well, no two frames equal."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y + 3 * index) % 256], axis=2).astype(np.uint8)
    picture[10:26, 2 * index : 2 * index + 16] = 240
    return Image.fromarray(picture)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Makes an episode of one camera whose PNGs lie on disk."""

    def make(
        frames: int = 12, *, index: int = 0, fps: Fraction = Fraction(30), size: tuple[int, int] = (96, 64)
    ) -> Episode:
        root = tmp_path / "dataset"
        folder = root / "images" / KEY / f"episode_{index:06d}"
        folder.mkdir(parents=True)
        paths = tuple(folder / f"frame_{k:06d}.png" for k in range(frames))
        for k, path in enumerate(paths):
            scene(k, *size).save(path, compress_level=1)
        target = PurePosixPath(f"videos/chunk-000/{KEY}/episode_{index:06d}.mp4")
        camera = Camera(KEY, FrameSource(folder, paths), target, (size[1], size[0]))
        return Episode(root, root, str(index), index, frames, fps, (camera,))

    return make


def context(episode: Episode, threads: int = 1, settings: Mapping[str, Any] | None = None, **more: Any) -> StageContext:
    scratch = episode.output / ".episoded" / episode.id / "g000001"
    scratch.mkdir(parents=True, exist_ok=True)
    params = EncodeParams(**(settings or {}))
    return StageContext(episode, scratch, params, structlog.get_logger(), threads=threads, **more)


def run(episode: Episode, threads: int = 1, **settings: Any) -> Artifact:
    return run_in(context(episode, threads, settings))


def run_in(ctx: StageContext) -> Artifact:
    (unit,) = STAGE.units(ctx.episode, ctx.params)
    (artifact,) = STAGE.run(unit, ctx)
    json.dumps(artifact.facts)
    return artifact


def publish(artifact: Artifact, episode: Episode) -> Path:
    target = episode.output / artifact.target
    target.parent.mkdir(parents=True, exist_ok=True)
    return artifact.path.replace(target)


def without_frames(episode: Episode) -> Episode:
    return replace(episode, cameras=tuple(replace(camera, frames=None) for camera in episode.cameras))


def pngs(episode: Episode) -> tuple[Path, ...]:
    assert episode.cameras[0].frames is not None
    return episode.cameras[0].frames.paths


def failure(
    episode: Episode, kind: type[EpisodedError] = InputError, threads: int = 1, **settings: Any
) -> EpisodedError:
    ctx = context(episode, threads, settings)
    with pytest.raises(kind) as caught:
        run_in(ctx)
    assert list(ctx.scratch.iterdir()) == []
    assert caught.value.hint
    return caught.value


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


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


# ---- what is learnt on the way


def lerobots_statistics(paths: tuple[Path, ...]) -> dict[str, Any]:
    """`compute_episode_stats` of lerobot 0.3.3 in its own way: a stack of thinned pictures, reduced by numpy."""
    stack = []
    for index in sample_indices(len(paths)):
        picture = np.asarray(Image.open(paths[index]).convert("RGB")).transpose(2, 0, 1)
        _, height, width = picture.shape
        step = 1 if max(width, height) < 300 else int(width / 150) if width > height else int(height / 150)
        stack.append(picture[:, ::step, ::step])
    pictures = np.stack(stack)
    reduced = {
        name: getattr(np, name)(pictures, axis=(0, 2, 3), keepdims=True) for name in ("min", "max", "mean", "std")
    }
    return {**{name: np.squeeze(value / 255.0, axis=0) for name, value in reduced.items()}, "count": len(stack)}


@needs_data
@pytest.mark.parametrize(
    ("folder", "threads"),
    [
        ("g1_v21/images/observation.images.cam_high/episode_000000", 1),
        ("franka_v21_interrupted/images/observation.images.wrist/episode_000001", 2),
    ],
)
def test_image_statistics_are_lerobots(folder: str, threads: int, tmp_path: Path) -> None:
    paths = tuple(sorted((DATA / "pending" / folder).glob("*.png"))) * 4  # more than are sampled
    camera = Camera(KEY, FrameSource(DATA, paths), PurePosixPath("a/b/c.mp4"))
    artifact = run(Episode(tmp_path, tmp_path, "0", 0, len(paths), Fraction(30), (camera,)), threads)
    expected, found = lerobots_statistics(paths), artifact.facts["image_stats"]
    assert found["count"] == [expected["count"]]
    assert expected["count"] < len(paths)
    for name in ("min", "max", "mean", "std"):
        assert np.shape(found[name]) == (3, 1, 1)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [(299, 200), (300, 200), (200, 301), (64, 48)])
def test_image_statistics_thin_out_large_frames_only(size: tuple[int, int], recorded: Recorded) -> None:
    episode = recorded(3, size=size)
    expected, found = lerobots_statistics(pngs(episode)), run(episode, odd_dimensions="yuv444p").facts["image_stats"]
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-12)


def test_a_camera_that_shows_one_picture_is_reported_and_encoded(recorded: Recorded) -> None:
    episode = recorded(9)
    for path in pngs(episode)[1:]:
        shutil.copyfile(pngs(episode)[0], path)
    facts = run(episode).facts
    assert (facts["constant"], facts["duplicates"], facts["frames"]) == (True, 8, 9)


def test_stale_frames_are_counted_and_left_alone(recorded: Recorded) -> None:
    episode = recorded(12)
    camera = episode.cameras[0]
    source = FrameSource(pngs(episode)[0].parent, pngs(episode)[:9], pngs(episode)[9:])
    shorter = replace(episode, length=9, cameras=(replace(camera, frames=source),))
    facts = run(shorter).facts
    assert (facts["frames"], facts["stale_frames"]) == (9, 3)
    assert all(path.exists() for path in pngs(episode))


def test_a_wrong_shape_in_the_metadata_is_reported_and_the_frames_are_trusted(recorded: Recorded) -> None:
    episode = recorded()
    assert run(episode).facts["declared_shape"] is None
    lying = replace(episode, cameras=(replace(episode.cameras[0], shape=(480, 640)),))
    facts = run(lying).facts
    assert (facts["declared_shape"], facts["width"], facts["height"]) == ([480, 640], 96, 64)


def test_kinds_of_8_bit_png_may_mix_and_alpha_is_dropped(recorded: Recorded) -> None:
    episode = recorded()
    scene(3).convert("RGBA").save(pngs(episode)[3])
    scene(4).convert("P").save(pngs(episode)[4])
    scene(5).convert("L").save(pngs(episode)[5])
    facts = run(episode).facts
    assert facts["alpha_dropped"]
    assert facts["psnr_db"]["min"] > 30


# ---- what must not come out


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (truncate, "png_truncated"),
    "empty": (lambda path: path.write_bytes(b""), "png_empty"),
    "a flipped bit": (flip_a_bit, "png_bad_crc"),
    "without its end": (lambda path: os.truncate(path, path.stat().st_size - 12), "png_truncated"),
    "of another size": (lambda path: scene(5, 98, 64).save(path), "mixed_size"),
    "16 bits deep": (lambda path: Image.fromarray(np.full((64, 96), 900, np.uint16)).save(path), "png_16bit"),
    "a JPEG": (lambda path: scene(5).save(path, "JPEG"), "png_not_png"),
    "a Git LFS pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "lfs_pointer"),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_frame_fails_the_episode_by_name_and_harms_no_png(
    damage: str, threads: int, recorded: Recorded
) -> None:
    episode = recorded(12)
    do, code = DAMAGE[damage]
    bad = pngs(episode)[5]
    do(bad)
    before = {path: path.read_bytes() for path in pngs(episode)}
    error = failure(episode, threads=threads)
    assert error.code == code
    assert str(bad) in error.message
    assert {path: path.read_bytes() for path in pngs(episode)} == before


def test_a_first_frame_that_is_damaged_is_named_too(recorded: Recorded) -> None:
    episode = recorded()
    truncate(pngs(episode)[0])
    assert failure(episode).code == "png_truncated"


def test_frames_that_do_not_match_the_rows_are_refused(recorded: Recorded) -> None:
    episode = recorded(12)
    assert failure(replace(episode, length=13)).code == "frame_count"
    assert failure(replace(episode, length=11)).code == "frame_count"


def test_a_frame_that_goes_away_is_worth_another_try(recorded: Recorded) -> None:
    episode = recorded()
    pngs(episode)[7].unlink()
    error = failure(episode, EpisodedError)
    assert (error.code, error.retryable) == ("file_vanished", True)


def test_odd_dimensions_fail_with_the_ways_out(recorded: Recorded) -> None:
    episode = recorded(4, size=(95, 63))
    error = failure(episode)
    assert error.code == "odd_dimensions"
    assert "95x63" in error.message
    assert "yuv444p" in error.hint
    assert run(episode, odd_dimensions="yuv444p").facts["pix_fmt"] == "yuv444p"


def test_av1_takes_odd_dimensions(recorded: Recorded) -> None:
    facts = run(recorded(4, size=(95, 67)), profile="lerobot").facts
    assert (facts["width"], facts["height"], facts["pix_fmt"]) == (95, 67, "yuv420p")


def test_a_quality_below_the_limit_names_camera_and_frame(recorded: Recorded) -> None:
    error = failure_keeping_scratch(recorded(), crf=51, min_psnr_db=45)
    assert error.code == "low_psnr"
    assert KEY in error.message
    assert "frame 0" in error.message


def failure_keeping_scratch(episode: Episode, **settings: Any) -> EpisodedError:
    with pytest.raises(EpisodedError) as caught:
        run(episode, **settings)
    return caught.value


def test_colours_gone_wrong_are_noticed_where_psnr_is_not_low() -> None:
    rgb = np.asarray(scene(3))
    expected = reference(rgb)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    right = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace="ITU601")
    wrong = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="JPEG", dst_colorspace="ITU601")
    swapped = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[..., ::-1]), format="rgb24").reformat(
        format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace="ITU601"
    )
    assert psnr(expected, right) > 55
    assert shift(expected, right) < 0.6
    assert psnr(expected, wrong) > 25
    assert shift(expected, wrong) > LARGEST_SHIFT
    assert shift(expected, swapped) > LARGEST_SHIFT


def test_a_full_disk_counts_no_attempt(recorded: Recorded) -> None:
    ctx = context(recorded())
    (ctx.scratch / f"{KEY}.video").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        run_in(ctx)


@pytest.mark.parametrize("threads", [1, 2])
def test_cancelled_work_leaves_nothing_open_and_no_thread(threads: int, recorded: Recorded) -> None:
    episode = recorded(40)
    run(episode, threads)  # whatever libraries open once is open now
    files, running = open_files(), threading.active_count()
    asked: list[int] = []
    ctx = context(episode, threads, cancelled=lambda: len(asked) >= 20 or bool(asked.append(1)))
    for left in ctx.scratch.iterdir():
        left.unlink()
    with pytest.raises(Cancelled):
        run_in(ctx)
    assert list(ctx.scratch.iterdir()) == []
    assert (open_files(), threading.active_count()) == (files, running)


def test_reading_back_can_be_cancelled_too(recorded: Recorded) -> None:
    asked: list[int] = []
    ctx = context(recorded(12), cancelled=lambda: len(asked) >= 15 or bool(asked.append(1)))
    with pytest.raises(Cancelled):
        run_in(ctx)


# ---- videos that are there already


@pytest.fixture
def finished(recorded: Recorded) -> Episode:
    """An episode whose PNGs are gone and whose video lies at its target."""
    episode = recorded(12)
    publish(run(episode), episode)
    shutil.rmtree(pngs(episode)[0].parent)
    return without_frames(episode)


def test_a_finished_video_is_verified_and_kept_where_it_is(finished: Episode) -> None:
    target = finished.output / finished.cameras[0].video
    assert STAGE.units(finished, EncodeParams())[0].inputs == (target,)
    artifact = run(finished)
    assert artifact.path == target
    facts = artifact.facts
    assert (facts["adopted"], facts["frames"], facts["width"], facts["encoder"]) == (True, 12, 96, None)
    assert facts["image_stats"]["count"] == [12]


def test_the_statistics_of_an_adopted_video_are_those_of_its_pictures(recorded: Recorded) -> None:
    episode = recorded(12)
    artifact = run(episode, crf=10)
    publish(artifact, episode)
    adopted = run(without_frames(episode)).facts["image_stats"]
    np.testing.assert_allclose(adopted["mean"], artifact.facts["image_stats"]["mean"], atol=0.01)


@pytest.mark.parametrize(("change", "code"), [(+1, "video_short"), (-1, "video_long")])
def test_a_finished_video_of_another_length_is_refused(change: int, code: str, finished: Episode) -> None:
    error = failure(replace(finished, length=finished.length + change))
    assert error.code == code
    assert str(finished.output / finished.cameras[0].video) in error.message


def test_a_finished_video_of_another_rate_is_refused(finished: Episode) -> None:
    assert failure(replace(finished, fps=Fraction(25))).code == "video_timing"


def test_a_finished_video_that_is_damaged_is_refused(finished: Episode) -> None:
    target = finished.output / finished.cameras[0].video
    target.write_bytes(target.read_bytes()[:-2000])
    assert failure(finished).code == "video_unreadable"
    target.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert failure(finished).code == "lfs_pointer"


@needs_data
@pytest.mark.parametrize("path", sorted((DATA / "corrupt" / "mp4").glob("*.mp4")), ids=lambda path: path.stem)
def test_no_file_of_the_corrupt_collection_is_adopted(path: Path, finished: Episode) -> None:
    target = finished.output / finished.cameras[0].video
    target.unlink()
    shutil.copyfile(path, target)
    assert failure(finished).code in ("video_unreadable", "video_empty", "video_short", "video_timing")


def test_a_camera_without_frames_and_video_is_named(finished: Episode) -> None:
    (finished.output / finished.cameras[0].video).unlink()
    assert STAGE.units(finished, EncodeParams())[0].inputs == ()
    error = failure(finished)
    assert error.code == "no_frames"
    assert KEY in error.message


def test_frames_count_more_than_a_video_that_lies_there(recorded: Recorded) -> None:
    episode = recorded(12)
    target = publish(run(recorded_shorter(episode)), episode)
    before = target.read_bytes()
    artifact = run(episode)
    assert STAGE.units(episode, EncodeParams())[0].inputs == pngs(episode)
    assert (artifact.facts["adopted"], artifact.facts["frames"]) == (False, 12)
    assert target.read_bytes() == before


def recorded_shorter(episode: Episode) -> Episode:
    source = FrameSource(pngs(episode)[0].parent, pngs(episode)[:6])
    return replace(episode, length=6, cameras=(replace(episode.cameras[0], frames=source),))


def test_a_video_of_a_read_only_dataset_is_copied_to_the_output(finished: Episode, tmp_path: Path) -> None:
    elsewhere = replace(finished, output=tmp_path / "output")
    ctx = context(elsewhere)
    artifact = run_in(ctx)
    assert artifact.path.parent == ctx.scratch
    assert artifact.path.read_bytes() == (finished.root / finished.cameras[0].video).read_bytes()


# ---- one camera, one kind of video


def test_a_camera_keeps_the_codec_of_its_earlier_videos(recorded: Recorded) -> None:
    first = recorded(index=0)
    publish(run(first, profile="lerobot"), first)
    facts = run(recorded(index=1)).facts
    assert facts["codec"] == "av1"
    assert facts["sibling"]["file"].endswith("episode_000000.mp4")
    assert facts["sibling"]["joinable"]
    assert facts["encoder"]["notes"]


def test_videos_of_one_camera_can_be_joined_without_encoding(recorded: Recorded) -> None:
    first = recorded(index=0)
    publish(run(first, threads=1), first)
    facts = run(recorded(20, index=1), threads=4).facts
    assert facts["sibling"]["joinable"]
    assert facts["encoder"]["notes"] == []


def test_other_settings_than_those_of_the_earlier_videos_are_reported(recorded: Recorded) -> None:
    first = recorded(index=0)
    publish(run(first, profile="brief"), first)
    assert not run(recorded(index=1)).facts["sibling"]["joinable"]


def test_full_range_videos_are_continued_in_full_range(recorded: Recorded) -> None:
    first = recorded(index=0)
    target = first.output / first.cameras[0].video
    target.parent.mkdir(parents=True)
    npu = Encoding("libx264", {"g": "1"}, full_range=True)
    with VideoWriter(target, npu, width=96, height=64, rate=Fraction(30)) as writer:
        frame = av.VideoFrame.from_ndarray(np.asarray(scene(0)), format="rgb24")
        writer.write(frame.reformat(format="yuvj420p"))
    artifact = run(recorded(index=1))
    assert video.probe(artifact.path).full_range
    assert artifact.facts["psnr_db"]["min"] > 30


def test_a_codec_that_is_not_written_here_is_reported_as_mixed(recorded: Recorded) -> None:
    first = recorded(index=0)
    target = first.output / first.cameras[0].video
    target.parent.mkdir(parents=True)
    with VideoWriter(target, Encoding("mpeg4"), width=96, height=64, rate=Fraction(30)) as writer:
        writer.write(av.VideoFrame.from_ndarray(np.asarray(scene(0)), format="rgb24").reformat(format="yuv420p"))
    facts = run(recorded(index=1)).facts
    assert facts["codec"] == "h264"
    assert "mixes codecs" in facts["encoder"]["notes"][0]


def test_earlier_videos_do_not_matter_when_told_so(recorded: Recorded) -> None:
    first = recorded(index=0)
    publish(run(first, profile="lerobot"), first)
    facts = run(recorded(index=1), match_existing=False).facts
    assert (facts["codec"], facts["sibling"]) == ("h264", None)


def test_the_own_video_of_an_episode_is_no_example_for_it(recorded: Recorded) -> None:
    episode = recorded()
    publish(run(episode, profile="lerobot"), episode)
    assert run(episode).facts["codec"] == "h264"


# ---- settings


def test_hardware_that_does_not_work_falls_back_and_says_why(recorded: Recorded) -> None:
    if refusal("h264_nvenc") is None or refusal("h264_qsv") is None:
        pytest.skip("this machine has a hardware encoder")
    facts = run(recorded(), hardware="auto").facts
    assert (facts["encoder"]["codec"], facts["encoder"]["hardware"]) == ("libx264", False)
    assert len(facts["encoder"]["notes"]) == 2
    assert "h264_nvenc" in facts["encoder"]["notes"][0]


def test_an_encoder_that_works_is_found_to_work() -> None:
    assert refusal("libx264") is None
    assert refusal("libnothing") is not None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"profile": "fast"}, "profile"),
        ({"preset": "12"}, "libx264"),
        ({"crf": 60}, "0 \\(best\\) to 51"),
        ({"codec": "libsvtav1", "pix_fmt": "yuv444p"}, "yuv420p only"),
        ({"codec": "libsvtav1", "bf": 2}, "bf"),
        ({"codec": "libsvtav1", "tune": "film"}, "tune"),
        ({"codec": "mpeg4"}, "libx264"),
        ({"gop": 0}, "gop"),
        ({"options": {"crf": "20"}}, "setting of its own"),
        ({"hardware": "av1_nvenc"}, "h264_nvenc"),
        ({"presett": "fast"}, "presett"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_work_are_refused_with_the_reason(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        EncodeParams(**settings)


def test_another_codec_than_the_profiles_brings_its_own_defaults() -> None:
    settings = EncodeParams(profile="brief", codec="libsvtav1").settings
    assert (settings.preset, settings.crf, settings.gop) == ("12", 30, 250)
    assert EncodeParams(profile="lerobot", preset=5).settings.preset == "5"


def test_a_misspelt_encoder_option_is_an_error(recorded: Recorded) -> None:
    error = failure(recorded(), EpisodedError, options={"sc_treshold": "0"})
    assert error.code == "encoder_failed"
    assert "sc_treshold" in error.message


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
