"""What depth is made from: frames are counted by decoding, shown upright, and nothing a file says is believed."""

from fractions import Fraction
from pathlib import Path, PurePosixPath

import av
import numpy as np
import pytest
from PIL import Image

from episoded.processors.depth.frames import Part, PngFrames, look_at, recorded
from episoded.processors.episode import Camera, Episode
from episoded.processors.errors import InputError
from episoded.processors.media.writer import Encoding, VideoWriter
from lerobot_data import DATA

CLIP = DATA / "depth_video/davis_rollercoaster.mp4"
needs_data = pytest.mark.skipif(not CLIP.is_file(), reason=f"needs the real videos ({DATA})")


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A bright block that moves, on a slope from left to right."""
    rgb = np.repeat(np.linspace(0, 120, width, dtype=np.uint8)[None, :, None], height, axis=0).repeat(3, axis=2)
    rgb[4:12, 2 + number : 10 + number] = 250
    return rgb


def write(path: Path, count: int, pix_fmt: str = "yuv420p", size: tuple[int, int] = (48, 64), **options: str) -> Path:
    height, width = size
    encoding = Encoding("libx264", {"crf": "5", **options}, pix_fmt)
    container = "matroska" if path.suffix == ".mkv" else "mp4"
    with VideoWriter(path, encoding, width=width, height=height, rate=Fraction(30), container=container) as writer:
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            writer.write(frame.reformat(format=pix_fmt))
    return path


def block(rgb: np.ndarray) -> int:
    """Where the bright block begins."""
    return int(np.argmax(rgb[8, :, 0] > 200))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "yuvj420p"])
def test_any_pixel_format_becomes_rgb(tmp_path: Path, pix_fmt: str) -> None:
    frames = look_at(write(tmp_path / "clip.mp4", 7, pix_fmt))
    assert (frames.count, frames.height, frames.width, frames.rate, frames.times_s) == (7, 48, 64, 30, None)
    got = list(frames.read())
    assert [block(rgb) for rgb in got] == [2, 3, 4, 5, 6, 7, 8]
    assert all(np.abs(rgb.astype(int) - picture(number)).mean() < 4 for number, rgb in enumerate(got))


def test_reading_can_begin_anywhere(tmp_path: Path) -> None:
    frames = look_at(write(tmp_path / "clip.mkv", 9, g="4"))
    assert [block(rgb) for rgb in frames.read(6)] == [8, 9, 10]
    assert list(frames.read(9)) == []


def test_odd_sizes_and_single_frames(tmp_path: Path) -> None:
    frames = look_at(write(tmp_path / "clip.mp4", 1, "yuv444p", (47, 63)))
    assert (frames.count, frames.height, frames.width) == (1, 47, 63)
    assert next(frames.read()).shape == (47, 63, 3)


def test_the_part_of_an_episode_in_a_video_of_several(tmp_path: Path) -> None:
    path = write(tmp_path / "file-000.mp4", 12, g="5")
    frames = look_at(path, part=Part(4, 3, Fraction(30)))
    assert (frames.count, frames.rate, frames.times_s) == (3, 30, None)
    assert [block(rgb) for rgb in frames.read()] == [6, 7, 8]
    assert [block(rgb) for rgb in frames.read(2)] == [8]
    assert look_at(path, part=Part(10, 3, Fraction(30))).count == 2


@pytest.mark.parametrize(("start", "length"), [(None, 5), (10, 3)])
def test_another_number_of_frames_than_rows_is_no_episode(tmp_path: Path, start: int | None, length: int) -> None:
    path = write(tmp_path / "clip.mp4", 12)
    camera = Camera("top", None, PurePosixPath("clip.mp4"), start=start)
    episode = Episode(tmp_path, tmp_path, "e", 0, length, Fraction(30), (camera,), table=tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=f"has {length} rows") as refused:
        recorded(camera, episode, path, lambda path, part: look_at(path, part=part))
    assert refused.value.code == "frame_count"


def rotated(path: Path, quarters: int) -> Path:
    """The same video with a rotation in its header, as phones write it."""
    matrix = {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarters]
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[at + place : at + place + 4] = (value * one).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_video_that_is_shown_rotated_is_read_rotated(tmp_path: Path, quarters: int) -> None:
    frames = look_at(rotated(write(tmp_path / "clip.mp4", 3), quarters))
    shown = np.rot90(picture(0), -quarters)  # the header turns clockwise
    assert (frames.height, frames.width) == shown.shape[:2]
    assert np.abs(next(frames.read()).astype(int) - shown).mean() < 4
    assert frames.rotation_deg == (-90 * quarters) % 360


def test_a_variable_rate_is_noticed_and_its_times_kept(tmp_path: Path) -> None:
    path, ticks = tmp_path / "clip.mkv", [0, 40, 80, 200, 240, 1000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = look_at(path)
    assert frames.times_s == pytest.approx([tick / 1000 for tick in ticks])
    assert float(frames.rate) == pytest.approx(5.0, abs=0.01)  # five steps in a second


def test_sound_and_an_index_at_the_end_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        sound, stream = container.add_stream("aac", rate=48000), container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        silence.rate = 48000
        container.mux(sound.encode(silence))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    content = path.read_bytes()
    assert content.index(b"mdat") < content.index(b"moov")
    assert [block(rgb) for rgb in look_at(path).read()] == [2, 3, 4, 5, 6]


@needs_data
def test_a_real_clip() -> None:
    frames = look_at(CLIP)
    assert (frames.count, frames.height, frames.width, frames.rate) == (70, 540, 960, 24)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("mp4parse_invalid_userdata", "video_no_frames", "decodes to no frame"),
        ("mp4parse_no_timescale", "video_unreadable", "after 8 good frames"),
        ("mp4parse_chunk_out_of_range", "video_unreadable", "damaged"),
        ("mp4parse_test_case_1185230", "video_unreadable", "after 0 good frames"),
        ("thumbor_corrupt", "video_empty", "is empty"),
        ("thumbor_corrupt2", "video_unreadable", "damaged"),
    ],
)
def test_real_damaged_videos_are_refused_by_name(name: str, code: str, words: str) -> None:
    path = DATA / f"corrupt/mp4/{name}.mp4"
    if not path.is_file():
        pytest.skip(f"needs the real videos ({DATA})")
    with pytest.raises(InputError, match=words) as refused:
        look_at(path)
    assert refused.value.code == code
    assert str(path) in refused.value.message


def test_a_video_that_was_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    frames = look_at(write(tmp_path / "clip.mp4", 5))
    for count in (3, 8):
        write(tmp_path / "clip.mp4", count)
        with pytest.raises(InputError) as refused:
            list(frames.read())
        assert refused.value.code == "video_frames"


def test_png_frames(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{number}.png" for number in range(4))
    for number, path in enumerate(paths):
        Image.fromarray(picture(number)).save(path)
    frames = PngFrames.of(paths, Fraction(30))
    assert (frames.count, frames.height, frames.width) == (4, 48, 64)
    assert [np.array_equal(rgb, picture(number)) for number, rgb in enumerate(frames.read(2), 2)] == [True, True]
    Image.fromarray(picture(3, 24, 32)).save(paths[3])
    with pytest.raises(InputError, match=r"frame 3 .*3\.png") as refused:
        list(frames.read())
    assert refused.value.code == "mixed_size"
