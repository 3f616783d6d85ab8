"""Depth videos are bit-exact, joined without encoding, and damage in them is noticed although libav hides it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from episoded.processors.depth import meta
from episoded.processors.depth.codes import (
    DisparityCodes,
    MeasuredScale,
    MetricCodes,
    codes_of,
    reference_disparity,
)
from episoded.processors.depth.reader import read_depth
from episoded.processors.errors import EpisodedError, InputError
from episoded.processors.media import ffv1, video
from episoded.processors.media.writer import Encoding, VideoWriter

SIZE = (48, 64)


def noise(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 65536, size, dtype=np.uint16) for _ in range(count)]


def smooth(count: int) -> list[np.ndarray]:
    rows, columns = np.mgrid[:240, :320]
    return [(1000 + rows * 3 + columns * 2 + number).astype(np.uint16) for number in range(count)]


def write(path: Path, frames: list[np.ndarray], rate: Fraction = Fraction(30), codes: object = MetricCodes()) -> Path:
    """A depth video and its description."""
    height, width = frames[0].shape
    with ffv1.DepthWriter(path, height=height, width=width, rate=rate) as writer:
        for samples in frames:
            writer.write(samples)
    crc32 = [f"{crc:08x}" for crc in writer.crc32]
    described = {**codes.describe(), "frame_count": len(frames), "crc32": crc32}  # type: ignore[attr-defined]
    meta.beside(path).write_bytes(meta.to_json(described))
    return path


def read(path: Path, **options: object) -> np.ndarray:
    return np.stack(list(read_depth(path, **options)))  # type: ignore[arg-type]


class TestWriting:
    @pytest.mark.parametrize("size", [(48, 64), (14, 14), (33, 17), (241, 321)])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_every_sample_survives(self, tmp_path: Path, size: tuple[int, int], threads: int) -> None:
        frames = noise(3, size)
        frames[0].flat[:196] = np.linspace(0, 65535, 196).astype(np.uint16)
        path = write(tmp_path / "depth.mkv", frames)
        assert np.array_equal(np.stack(list(ffv1.read(path, threads))), np.stack(frames))

    @pytest.mark.parametrize("rate", [Fraction(30), Fraction(30000, 1001), Fraction(24), Fraction(2997, 100)])
    def test_the_rate_is_the_sources(self, tmp_path: Path, rate: Fraction) -> None:
        assert video.probe(write(tmp_path / "depth.mkv", noise(4), rate)).fps == rate

    def test_it_is_what_it_says(self, tmp_path: Path) -> None:
        info = video.probe(write(tmp_path / "depth.mkv", noise(4)))
        assert (info.codec, info.pix_fmt, info.frames) == ("ffv1", "gray16le", 4)

    def test_the_same_frames_give_the_same_bytes(self, tmp_path: Path) -> None:
        one, two = write(tmp_path / "one.mkv", noise(5)), write(tmp_path / "two.mkv", noise(5))
        assert one.read_bytes() == two.read_bytes()


class TestJoining:
    def join(self, folder: Path, counts: tuple[int, ...], rate: Fraction = Fraction(30)) -> tuple[Path, list[bytes]]:
        segments = [write(folder / f"{n}.mkv", noise(count, seed=n), rate) for n, count in enumerate(counts)]
        joined = folder / "joined.mkv"
        ffv1.join(segments, joined, height=SIZE[0], width=SIZE[1], rate=rate, tags={"DEPTH_UNIT": "mm"})
        frames = [frame for n, count in enumerate(counts) for frame in noise(count, seed=n)]
        return joined, [frame.tobytes() for frame in frames]

    def test_the_packets_are_those_of_the_segments(self, tmp_path: Path) -> None:
        joined, _ = self.join(tmp_path, (3, 1, 4))
        segments = [tmp_path / f"{n}.mkv" for n in range(3)]
        assert self.packets(joined) == [packet for segment in segments for packet in self.packets(segment)]

    @pytest.mark.parametrize("rate", [Fraction(30), Fraction(30000, 1001), Fraction(33360, 1411)])
    def test_all_frames_are_there_in_order_on_the_grid(self, tmp_path: Path, rate: Fraction) -> None:
        joined, frames = self.join(tmp_path, (7, 8, 9), rate)
        assert [frame.tobytes() for frame in ffv1.read(joined)] == frames
        with av.open(str(joined)) as container:
            stream = container.streams.video[0]
            times = [packet.pts * stream.time_base for packet in container.demux(stream) if packet.size]
            assert abs(float(stream.average_rate or 0) / float(rate) - 1) < 1e-6
            assert container.metadata["DEPTH_UNIT"] == "mm"
        assert all(abs(time - number / rate) <= Fraction(1, 2000) for number, time in enumerate(times))

    def test_the_same_segments_give_the_same_bytes(self, tmp_path: Path) -> None:
        joined, _ = self.join(tmp_path, (3, 4))
        again, _ = self.join(tmp_path, (3, 4))
        assert joined.read_bytes() == again.read_bytes()

    def test_segments_of_another_size_are_refused(self, tmp_path: Path) -> None:
        segments = [write(tmp_path / "0.mkv", noise(2)), write(tmp_path / "1.mkv", noise(2, (240, 320)))]
        with pytest.raises(EpisodedError) as refused:
            ffv1.join(segments, tmp_path / "j.mkv", height=48, width=64, rate=Fraction(30), tags={})
        assert refused.value.code == "depth_unjoinable"

    @staticmethod
    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]


class TestDamage:
    def flip(self, path: Path) -> None:
        """One bit in the middle of the frame data."""
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

    def test_libav_conceals_a_flipped_bit(self, tmp_path: Path) -> None:
        """Why there are checksums of our own: without this the tests below could not fail for the right reason."""
        path = write(tmp_path / "depth.mkv", smooth(9))
        self.flip(path)
        assert len(list(ffv1.read(path))) == 9

    def test_a_flipped_bit_is_noticed_and_the_frame_is_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", smooth(9))
        self.flip(path)
        good = []
        with pytest.raises(InputError, match=r"frame 4 of .*depth\.mkv") as refused:
            good.extend(read_depth(path))
        assert refused.value.code == "depth_damaged"
        assert np.array_equal(np.stack(good), np.stack(smooth(4)))

    def test_a_file_that_was_cut_off_is_noticed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", smooth(9))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
        with pytest.raises(InputError) as refused:
            read(path)
        assert refused.value.code in ("depth_count", "depth_damaged")

    def test_a_frame_too_many_is_noticed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", smooth(3))
        described = meta.read(meta.beside(path))
        described["crc32"].pop()
        meta.beside(path).write_bytes(meta.to_json(described))
        with pytest.raises(InputError) as refused:
            read(path)
        assert refused.value.code == "depth_count"

    def test_a_video_that_is_no_depth_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", noise(2))
        with VideoWriter(path, Encoding("libx264"), width=64, height=48, rate=Fraction(30)) as writer:
            for _ in range(2):
                writer.write(av.VideoFrame(64, 48, "yuv420p"))
        with pytest.raises(InputError) as refused:
            read(path)
        assert refused.value.code == "depth_format"

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"kind": "disparity_relative"}', b'{"crc32": [7]}'])
    def test_a_description_that_says_nothing_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = write(tmp_path / "depth.mkv", noise(2))
        meta.beside(path).write_bytes(content)
        with pytest.raises(InputError) as refused:
            read(path)
        assert refused.value.code == "depth_meta_invalid"

    def test_without_a_description_nothing_is_believed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", noise(2))
        meta.beside(path).unlink()
        with pytest.raises(InputError) as refused:
            read(path)
        assert refused.value.code == "depth_meta_missing"


class TestReading:
    def test_millimetres_and_metres(self, tmp_path: Path) -> None:
        samples = np.array([[0, 1, 1500, 65535]] * 2, np.uint16)
        path = write(tmp_path / "depth.mkv", [samples])
        assert np.array_equal(read(path), [samples])
        metres = read(path, unit="m")
        assert metres.dtype == np.float32
        assert np.allclose(metres, [np.where(samples, samples / 1000, np.nan)], equal_nan=True)

    def test_finer_steps_are_read_in_the_same_units(self, tmp_path: Path) -> None:
        codes = MetricCodes(10000)
        samples, _ = codes.encode(np.array([[0.5, 2.00004, 0.00011, np.nan]] * 2, np.float32))
        path = write(tmp_path / "depth.mkv", [samples], codes=codes)
        assert read(path)[0, 0].tolist() == [500, 2000, 1, 0]
        assert read(path, unit="m")[0, 0, :3] == pytest.approx([0.5, 2.0, 0.0001], abs=1e-6)

    def test_a_relative_model_gives_no_metres(self, tmp_path: Path) -> None:
        path = write(tmp_path / "depth.mkv", noise(1), codes=DisparityCodes(4.0))
        for unit in ("mm", "m"):
            with pytest.raises(InputError, match="scale and shift are not known") as refused:
                read(path, unit=unit)
            assert refused.value.code == "depth_relative"
        assert read(path, unit="disparity").dtype == np.float32

    @pytest.mark.parametrize("pix_fmt", ["bgra", "bgr0"])
    def test_the_byte_split_files_of_older_pipelines_are_read(self, tmp_path: Path, pix_fmt: str) -> None:
        path, frames = tmp_path / "depth.mkv", noise(3)
        encoding = Encoding("ffv1", {"level": "3"}, pix_fmt, frame_threads=False)
        with VideoWriter(path, encoding, width=64, height=48, rate=Fraction(15), container="matroska") as writer:
            for samples in frames:
                split = np.zeros((*SIZE, 4), np.uint8)
                split[..., 0], split[..., 1], split[..., 3] = samples & 255, samples >> 8, 255
                picture = av.VideoFrame(64, 48, pix_fmt)
                picture.planes[0].update(split.tobytes())
                writer.write(picture)
        meta.beside(path).write_text('{"encoding": "bgr_split_uint16", "depth_scale": 0.001, "frame_count": 3}')
        assert np.array_equal(read(path), np.stack(frames))
        assert codes_of(meta.read(meta.beside(path))) == MetricCodes(1000)


class TestCodes:
    def test_metric_depth_is_never_saturated(self) -> None:
        values = np.array([np.nan, np.inf, -np.inf, -1, 0, 0.0001, 0.0012, 65.5354, 65.536, 1000], np.float32)
        samples, clipped = MetricCodes().encode(values)
        assert samples.tolist() == [0, 0, 0, 0, 0, 1, 1, 65535, 0, 0]
        assert clipped == 3  # infinity, 65.536 m and 1 km

    def test_metric_round_trip(self) -> None:
        values = np.linspace(0.01, 65, 999, dtype=np.float32)
        samples, _ = MetricCodes().encode(values)
        assert np.abs(MetricCodes().decode(samples) - values).max() <= 0.000503

    def test_disparity_keeps_the_far_and_marks_the_near(self) -> None:
        codes = DisparityCodes(2.0)
        samples, clipped = codes.encode(np.array([0, 2, 4, 5, np.nan, np.inf, -1], np.float32))
        assert samples.tolist() == [1, 32768, 65535, 65535, 0, 0, 0]
        assert clipped == 1
        assert codes.decode(samples[:3]) == pytest.approx([0, 2, 4], rel=1e-6)

    def test_what_is_described_can_be_read_back(self) -> None:
        for codes in (MetricCodes(), MetricCodes(10000), DisparityCodes(0.37)):
            assert codes_of(codes.describe()) == codes

    def test_the_reference_is_near_the_top_of_the_first_maps(self) -> None:
        assert reference_disparity(np.linspace(0, 10, 1001, dtype=np.float32)) == pytest.approx(9.99)
        assert reference_disparity(np.full(5, np.nan, np.float32)) == 1.0
        assert reference_disparity(np.zeros(5, np.float32)) == 1.0

    def test_a_measured_scale_makes_metres(self) -> None:
        metres = MeasuredScale(a=0.5, b=0.1).metres(np.array([0, 1, 10, np.nan], np.float32))
        assert metres == pytest.approx([10, 1 / 0.6, 1 / 5.1, np.nan], nan_ok=True)
        assert np.isnan(MeasuredScale(a=1, b=-2).metres(np.array([1.0], np.float32))).all()
