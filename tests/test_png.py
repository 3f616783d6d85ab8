"""A PNG frame is either read with exactly the pixels that Pillow sees, or refused by name. Nothing in between."""

import io
import os
import random
import struct
import threading
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from episoded.processors.errors import InputError
from episoded.processors.media import png
from episoded.processors.media.frames import FrameReader
from episoded.processors.media.pixels import plane

DATA = Path(os.environ.get("EPISODED_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (EPISODED_TEST_DATA)")

RGB = np.random.default_rng(7).integers(0, 256, (30, 41, 4), dtype=np.uint8)
COLOUR = Image.fromarray(RGB[..., :3])
KINDS = {
    "rgb": (COLOUR, {}),
    "rgba": (Image.fromarray(RGB), {}),
    "gray": (Image.fromarray(RGB[..., 0]), {}),
    "gray with alpha": (Image.merge("LA", [Image.fromarray(RGB[..., 0]), Image.fromarray(RGB[..., 1])]), {}),
    "palette": (COLOUR.quantize(200), {}),
    "palette of 4 bits": (COLOUR.quantize(13), {"bits": 4}),
    "palette of 2 bits": (COLOUR.quantize(4), {"bits": 2}),
    "palette of 1 bit": (COLOUR.quantize(2), {"bits": 1}),
    "black and white": (Image.fromarray(RGB[..., 0] > 99), {}),
    "palette with a transparent colour": (COLOUR.quantize(200), {"transparency": 3}),
    "rgb with a transparent colour": (COLOUR, {"transparency": (1, 2, 3)}),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def built(ihdr: bytes, rows: bytes, extra: bytes = b"") -> bytes:
    return png.SIGNATURE + ihdr + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def good() -> bytes:
    file = io.BytesIO()
    COLOUR.save(file, "PNG", compress_level=1)
    return file.getvalue()


def refusal(tmp_path: Path, data: bytes) -> InputError:
    path = tmp_path / "frame_000005.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        FrameReader().read(path, 5)
    assert str(path) in caught.value.message
    assert "frame 5" in caught.value.message or caught.value.code == "lfs_pointer"
    assert caught.value.hint
    return caught.value


@needs_data
def test_real_frames_have_the_pixels_that_pillow_sees() -> None:
    reader = FrameReader()
    paths = sorted((DATA / "pending").rglob("*.png"))[::5]
    assert len(paths) > 20
    for path in paths:
        assert np.array_equal(reader.read(path).rgb, np.asarray(Image.open(path).convert("RGB"))), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_8_bit_kind_of_png_reads_as_pillow_converts_it(kind: str, tmp_path: Path) -> None:
    image, options = KINDS[kind]
    path = tmp_path / "frame.png"
    image.save(path, **options)
    frame = FrameReader("yuv444p").read(path)
    assert np.array_equal(frame.rgb, np.asarray(Image.open(path).convert("RGB")))
    assert frame.source.transparent == ("alpha" in kind or "rgba" in kind or "transparent" in kind)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_interlaced_frames_are_read_too(colour: int, channels: int, tmp_path: Path) -> None:
    pixels = RGB[..., :channels]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx])
    path = tmp_path / "frame.png"
    path.write_bytes(built(header(41, 30, colour=colour, interlace=1), rows))
    assert np.array_equal(FrameReader("yuv444p").read(path).rgb, np.asarray(Image.open(path).convert("RGB")))


@needs_data
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pillow_broken", "png_corrupt"),
        ("pillow_truncated_image", "png_truncated"),
        ("xc1n0g08", "png_corrupt"),
        ("xc9n2c08", "png_corrupt"),
        ("xcrn0g04", "png_not_png"),
        ("xcsn0g01", "png_bad_crc"),  # Pillow loads this one
        ("xd0n2c08", "png_corrupt"),
        ("xd3n2c08", "png_corrupt"),
        ("xd9n2c08", "png_corrupt"),
        ("xdtn0g01", "png_corrupt"),
        ("xhdn0g08", "png_bad_crc"),
        ("xlfn0g04", "png_not_png"),
        ("xs1n0g01", "png_not_png"),
        ("xs2n0g01", "png_not_png"),
        ("xs4n0g01", "png_not_png"),
        ("xs7n0g01", "png_not_png"),
    ],
)
def test_every_file_of_the_corrupt_collection_is_refused(name: str, code: str, tmp_path: Path) -> None:
    data = (DATA / "corrupt" / "png" / f"{name}.png").read_bytes()
    assert refusal(tmp_path, data).code == code


def test_a_frame_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = good()
    for length in [1, 4, 8, 20, len(whole) // 2, len(whole) - 12, len(whole) - 4, len(whole) - 1]:
        assert refusal(tmp_path, whole[:length]).code == "png_truncated", length


def test_an_empty_frame_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"").code == "png_empty"


def test_a_frame_of_zeros_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, bytes(5000)).code == "png_corrupt"


def test_a_frame_without_its_end_mark_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, good().removesuffix(chunk(b"IEND", b""))).code == "png_truncated"


def test_a_jpeg_named_png_is_refused_as_what_it_is(tmp_path: Path) -> None:
    file = io.BytesIO()
    COLOUR.save(file, "JPEG")
    error = refusal(tmp_path, file.getvalue())
    assert error.code == "png_not_png"
    assert "JPEG" in error.message


def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path) -> None:
    error = refusal(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert error.code == "lfs_pointer"
    assert "git lfs pull" in error.hint


def test_no_flipped_bit_gets_through(tmp_path: Path) -> None:
    whole, chance = good(), random.Random(11)
    for position in (*range(8, 33), *(chance.randrange(33, len(whole)) for _ in range(60))):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        refusal(tmp_path, bytes(damaged))


def test_image_data_that_is_damaged_under_a_right_checksum_is_refused(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes(row) for row in RGB[:, :, :3].reshape(30, -1))
    ihdr = header(41, 30)
    assert refusal(tmp_path, built(ihdr, rows[:-1])).code == "png_corrupt"
    assert refusal(tmp_path, built(ihdr, rows + b"more")).code == "png_corrupt"
    for interlace in (0, 1):  # libavcodec accepts filter 7
        lines = b"\7" + bytes(
            sum(size * count for size, count in png.PngHeader(9, 9, 8, 2, bool(interlace)).passes) - 1
        )
        assert refusal(tmp_path, built(header(9, 9, interlace=interlace), lines)).code == "png_corrupt"
    stream = bytearray(zlib.compress(rows))
    stream[-1] ^= 1
    damaged = png.SIGNATURE + ihdr + chunk(b"IDAT", bytes(stream)) + chunk(b"IEND", b"")
    assert refusal(tmp_path, damaged).code == "png_corrupt"


def test_a_header_that_lies_about_the_size_costs_no_memory(tmp_path: Path) -> None:
    assert refusal(tmp_path, built(header(16_000, 16_000), b"\0" * 1000)).code == "png_corrupt"
    assert refusal(tmp_path, built(header(2**31 - 1, 2**31 - 1), b"\0" * 1000)).code == "png_corrupt"


def test_16_bit_pictures_are_depth_and_no_colour_frame(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 1234, np.uint16)).save(file, "PNG")
    error = refusal(tmp_path, file.getvalue())
    assert error.code == "png_16bit"
    assert "depth" in error.hint


@pytest.mark.parametrize(
    "extra",
    [chunk(b"iCCP", b"broken\0\0nonsense"), chunk(b"acTL", struct.pack(">II", 7, 0)), chunk(b"tEXt", b"x")],
    ids=["broken colour profile", "animation chunk", "text"],
)
def test_content_that_changes_no_pixel_is_harmless(extra: bytes, tmp_path: Path) -> None:
    pixels = np.ascontiguousarray(RGB[..., :3])
    path = tmp_path / "frame.png"
    path.write_bytes(built(header(41, 30), b"".join(b"\0" + bytes(row) for row in pixels.reshape(30, -1)), extra))
    assert np.array_equal(FrameReader("yuv444p").read(path).rgb, pixels)


def test_bytes_after_the_end_mark_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(good() + b"\0" * 512)
    assert np.array_equal(FrameReader("yuv444p").read(path).rgb, RGB[..., :3])


def test_a_bad_frame_does_not_spoil_the_good_ones_after_it(tmp_path: Path) -> None:
    reader = FrameReader("yuv444p")
    path, bad = tmp_path / "good.png", tmp_path / "bad.png"
    path.write_bytes(good())
    for damage in (b"", good()[:200], built(header(41, 30, colour=3), bytes(42 * 30), chunk(b"PLTE", b"\1"))):
        bad.write_bytes(damage)
        with pytest.raises(InputError):
            reader.read(bad)
        assert np.array_equal(reader.read(path).rgb, RGB[..., :3])


def test_a_frame_is_not_added_to_the_one_before(tmp_path: Path) -> None:
    reader = FrameReader("yuv444p")
    for level in (10, 200, 10, 90):
        path = tmp_path / f"{level}.png"
        Image.new("RGB", (16, 16), (level, level, level)).save(path)
        assert (reader.read(path).rgb == level).all()


def test_luma_is_bt601_of_limited_range(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(RGB[..., :3], 4, axis=0), 4, axis=1)
    path = tmp_path / "frame.png"
    Image.fromarray(pixels).save(path)
    exact = 16 + pixels @ np.array([65.481, 128.553, 24.966]) / 255
    for pix_fmt in ("yuv420p", "yuv444p"):
        assert np.abs(plane(FrameReader(pix_fmt).read(path).video) - exact).max() <= 1.0
    full = FrameReader("yuv420p", full_range=True).read(path).video
    assert np.abs(plane(full) - pixels @ np.array([0.299, 0.587, 0.114])).max() <= 1.5


def test_frames_leave_the_choice_of_keyframes_to_the_encoder(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(good())
    assert FrameReader("yuv444p").read(path).video.pict_type == av.video.frame.PictureType.NONE


def test_threads_share_a_reader(tmp_path: Path) -> None:
    reader, wrong = FrameReader("yuv444p"), []

    def read(level: int) -> None:
        path = tmp_path / f"{level}.png"
        Image.new("RGB", (64, 64), (level, 0, 0)).save(path)
        wrong.extend(level for _ in range(40) if not (reader.read(path).rgb[..., 0] == level).all())

    threads = [threading.Thread(target=read, args=(level,)) for level in (10, 100, 200, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_identity_tells_equal_pictures_from_others(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("1.png", "2.png", "3.png"))
    COLOUR.save(one)
    COLOUR.save(two, pnginfo=None, dpi=(72, 72))  # another chunk, the same pixels
    changed = RGB[..., :3].copy()
    changed[3, 3, 0] ^= 1
    Image.fromarray(changed).save(other)
    assert png.read(one).identity == png.read(two).identity
    assert png.read(one).identity != png.read(other).identity


def test_a_frame_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    first, other = tmp_path / "1.png", tmp_path / "2.png"
    Image.new("RGB", (64, 48)).save(first)
    Image.new("RGB", (64, 50)).save(other)
    with pytest.raises(InputError, match=r"frame 1 .*64x50 .*64x48") as caught:
        png.same_size(png.read(other, 1), png.read(first))
    assert caught.value.code == "mixed_size"
