"""Reading believes nothing that a file says about itself; writing is exact to the frame and leaves nothing behind."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from episoded.processors.errors import DiskFullError, EpisodedError, InputError, RetryableError
from episoded.processors.media import video
from episoded.processors.media.writer import Encoding, VideoWriter

DATA = Path(os.environ.get("EPISODED_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (EPISODED_TEST_DATA)")
REFERENCE = DATA / "reference/g1_v21/videos/chunk-000/observation.images.cam_high/episode_000000.mp4"

X264 = Encoding("libx264", {"preset": "fast", "crf": "23", "g": "2"})


def moving(count: int, pix_fmt: str = "yuv420p", width: int = 320, height: int = 240) -> Iterator[VideoFrame]:
    texture = np.random.default_rng(3).integers(0, 256, (height, width + count, 3), dtype=np.uint8)
    for index in range(count):
        picture = np.ascontiguousarray(texture[:, index : index + width])
        yield VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)


def write_all(
    path: Path, frames: Iterable[VideoFrame], encoding: Encoding = X264, rate: Fraction = Fraction(30)
) -> VideoWriter:
    with VideoWriter(path, encoding, width=320, height=240, rate=rate) as writer:
        for frame in frames:
            writer.write(frame)
    return writer


def write(path: Path, count: int = 12, encoding: Encoding = X264, rate: Fraction = Fraction(30)) -> VideoWriter:
    return write_all(path, moving(count, encoding.pix_fmt), encoding, rate)


def open_files() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:  # the descriptor that lists them
            continue
    return found


@needs_data
def test_probing_gives_what_lerobot_writes_about_a_video() -> None:
    info = video.probe(REFERENCE)
    assert (info.width, info.height, info.codec, info.pix_fmt) == (640, 480, "av1", "yuv420p")
    assert (info.fps, info.frames, info.has_audio, info.full_range) == (30, 221, False, False)


@needs_data
def test_frames_come_one_by_one_and_all_of_them() -> None:
    for threads in (1, 2):
        stamps = [frame.pts * frame.time_base for frame in video.frames(REFERENCE, threads)]
        assert stamps == [Fraction(k, 30) for k in range(221)]


@needs_data
@pytest.mark.parametrize(
    ("name", "code", "good"),
    [
        ("mp4parse_chunk_out_of_range", "video_unreadable", 0),
        ("mp4parse_no_timescale", "video_unreadable", 8),  # 182 frames by its packets
        ("mp4parse_test_case_1185230", "video_unreadable", 0),
        ("thumbor_corrupt", "video_empty", 0),
        ("thumbor_corrupt2", "video_unreadable", 0),
    ],
)
def test_damaged_videos_are_refused_with_the_file_named(name: str, code: str, good: int) -> None:
    path = DATA / "corrupt" / "mp4" / f"{name}.mp4"
    with pytest.raises(InputError) as caught:
        list(video.frames(path))
    assert caught.value.code == code
    assert f"after {good} good" in caught.value.message or good == 0
    assert str(path) in caught.value.message
    assert caught.value.hint


@needs_data
def test_a_video_that_claims_frames_and_has_none_is_counted_by_its_packets() -> None:
    path = DATA / "corrupt" / "mp4" / "mp4parse_invalid_userdata.mp4"
    with av.open(str(path), metadata_errors="replace") as container:
        assert container.streams.video[0].frames == 5544
    assert video.probe(path).frames == 0
    assert list(video.frames(path)) == []


@needs_data
def test_a_git_lfs_pointer_is_named_as_such() -> None:
    path = next((DATA / "corrupt" / "dataset_lfs_pointers").rglob("*.mp4"))
    with pytest.raises(InputError, match="git lfs pull") as caught:
        video.probe(path)
    assert caught.value.code == "lfs_pointer"


def test_a_video_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(RetryableError) as caught:
        video.probe(tmp_path / "no.mp4")
    assert caught.value.code == "file_vanished"


def test_a_cut_off_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError) as caught:
        list(video.frames(path))
    assert caught.value.code == "video_unreadable"


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(30000, 1001), Fraction(33360, 1411), Fraction(1, 2)])
@pytest.mark.parametrize("bf", ["0", "3"])
def test_time_stamps_are_exact_at_any_rate(rate: Fraction, bf: str, tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path, 20, Encoding("libx264", {"preset": "fast", "g": "10", "bf": bf}), rate)
    assert [frame.pts * frame.time_base for frame in video.frames(path)] == [k / rate for k in range(20)]
    assert video.probe(path).fps == rate


def test_a_rate_with_digits_beyond_the_container_stays_within_lerobots_tolerance(tmp_path: Path) -> None:
    path, rate = tmp_path / "a.video", Fraction(2997002997002997, 10**14)
    write(path, 30, rate=rate)
    stamps = [frame.pts * frame.time_base for frame in video.frames(path)]
    assert max(abs(stamp - k / rate) for k, stamp in enumerate(stamps)) < Fraction(1, 10_000)


def test_a_video_of_one_frame_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path, 1)
    assert video.probe(path).frames == 1
    assert [frame.pts for frame in video.frames(path)] == [0]


@pytest.mark.parametrize(("gop", "keyframes"), [(2, 10), (10, 2), (250, 1)])
def test_keyframes_lie_as_far_apart_as_asked(gop: int, keyframes: int, tmp_path: Path) -> None:
    source, path = tmp_path / "source.video", tmp_path / "a.video"
    write(source, 20, Encoding("libx264", {"g": "1"}))
    assert all(frame.pict_type == av.video.frame.PictureType.I for frame in video.frames(source))
    encoding = Encoding("libx264", {"preset": "fast", "g": str(gop), "sc_threshold": "0"})
    write_all(path, video.frames(source), encoding)  # passed on as they are, that makes 20 keyframes
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == keyframes


def test_streams_are_untagged_like_lerobots(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace, context.color_primaries) == (0, 2, 2)
    assert not video.probe(path).full_range


def test_full_range_is_tagged_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path, encoding=Encoding("libx264", {"g": "2"}, full_range=True))
    assert video.probe(path).full_range


def test_x264_works_on_whole_frames_and_not_on_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    writer = write(path, encoding=Encoding("libx264", {"preset": "fast"}, threads=3))
    assert writer.library.startswith("x264 - core ")
    assert b"sliced_threads=0" in path.read_bytes()


def test_the_index_lies_in_front_so_that_loading_can_start_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    "name", ["with space.video", "new\nline.video", "ünï·カメラ.video", "colon:name.video", "%03d.video"]
)
def test_any_file_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    assert video.probe(Path(name)).frames == 12


@pytest.mark.parametrize(
    ("codec", "options", "named"),
    [
        ("libx264", {"presett": "fast"}, "presett"),
        ("libx264", {"preset": "quick"}, "preset=quick"),
        ("libnothing", {}, "libnothing"),
    ],
)
def test_settings_that_the_encoder_does_not_know_are_an_error(
    codec: str, options: dict[str, str], named: str, tmp_path: Path
) -> None:
    with pytest.raises(EpisodedError, match=named) as caught:
        write(tmp_path / "a.video", encoding=Encoding(codec, options))
    assert caught.value.code == "encoder_failed"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_such_and_counts_no_attempt(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    path.symlink_to("/dev/full")
    before = open_files()
    with pytest.raises(DiskFullError):
        write(path, 40)
    assert open_files() == before


def test_work_that_stops_in_the_middle_leaves_no_file_and_nothing_open(tmp_path: Path) -> None:
    path, before = tmp_path / "a.video", open_files()

    def interrupted() -> Iterator[VideoFrame]:
        yield from moving(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all(path, interrupted())
    assert not path.exists()
    assert open_files() == before


def test_a_reader_that_stops_early_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.video"
    write(path)
    before = open_files()
    reading = video.frames(path)
    next(reading)
    reading.close()
    assert open_files() == before


def test_depth_can_be_written_losslessly_through_the_same_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    depth = np.random.default_rng(1).integers(0, 5000, (3, 48, 64), dtype=np.uint16)
    encoding = Encoding("ffv1", {"level": "3", "slices": "4"}, "gray16le", threads=2, frame_threads=False)
    with VideoWriter(path, encoding, width=64, height=48, rate=Fraction(9), container="matroska") as writer:
        for picture in depth:
            writer.write(VideoFrame.from_ndarray(picture, format="gray16le"))
    assert np.array_equal(np.stack([frame.to_ndarray() for frame in video.frames(path)]), depth)
