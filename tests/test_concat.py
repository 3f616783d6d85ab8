"""Videos joined and cut without encoding: every packet as it was, every frame at its time to the last digit."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from episoded.processors.errors import DiskFullError, InputError
from episoded.processors.media import video
from episoded.processors.media.clip import Clip, frames_of
from episoded.processors.media.concat import digest, join
from episoded.processors.media.writer import Encoding, VideoWriter

if TYPE_CHECKING:
    from pathlib import Path

TRAINING = {"preset": "ultrafast", "g": "2", "bf": "0"}
LONG = {"preset": "fast", "g": "250", "bf": "3"}  # B frames: decoded before they are shown
RATES = [Fraction(30), Fraction(2997, 100), Fraction(33360, 1411), Fraction(15)]


def make(
    path: Path,
    frames: int = 11,
    rate: Fraction = Fraction(30),
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    seed: int = 0,
    size: tuple[int, int] = (64, 48),
) -> Clip:
    """A video of moving noise."""
    width, height = size
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    encoding = Encoding(codec, TRAINING if options is None else options)
    with VideoWriter(path, encoding, width=width, height=height, rate=rate) as writer:
        for number in range(frames):
            shifted = np.roll(picture, number, axis=1)
            writer.write(av.VideoFrame.from_ndarray(shifted, format="rgb24").reformat(format="yuv420p"))
    return Clip(path, 0, frames)


def pictures(path: Path) -> list[str]:
    return [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in video.frames(path)]


def times(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in video.frames(path)]


def code(error: Any) -> str:
    return str(error.value.code)


@pytest.mark.parametrize("options", [TRAINING, LONG], ids=["training", "long"])
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_joined_frames_are_the_frames_at_their_times(tmp_path: Path, rate: Fraction, options: dict[str, str]):
    clips = [make(tmp_path / f"{n}.mp4", 11 + n, rate, options, seed=n) for n in range(5)]
    joined = join(clips, tmp_path / "all.mp4", rate)
    assert pictures(tmp_path / "all.mp4") == [one for clip in clips for one in pictures(clip.path)]
    assert times(tmp_path / "all.mp4") == [number / rate for number in range(65)]
    assert [one.first for one in joined] == [0, 11, 23, 36, 50]
    assert video.probe(tmp_path / "all.mp4").frames == 65


def test_the_clock_of_the_first_is_kept(tmp_path: Path):
    clips = [make(tmp_path / f"{n}.mp4") for n in range(2)]
    join(clips, tmp_path / "all.mp4", Fraction(30))
    with av.open(str(tmp_path / "all.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.time_base == Fraction(1, 15360)
        assert stream.duration * stream.time_base == Fraction(22, 30)


@pytest.mark.parametrize("options", [TRAINING, LONG], ids=["training", "long"])
def test_what_was_joined_is_cut_out_again(tmp_path: Path, options: dict[str, str]):
    clips = [make(tmp_path / f"{n}.mp4", 11 + n, options=options, seed=n) for n in range(3)]
    joined = join(clips, tmp_path / "all.mp4", Fraction(30))
    for clip, where in zip(clips, joined, strict=True):
        part = Clip(tmp_path / "all.mp4", where.first, clip.frames)
        again = join([part], tmp_path / "cut.mp4", Fraction(30))
        assert again[0].digest == where.digest == digest(part, Fraction(30)) == digest(clip, Fraction(30))
        assert pictures(tmp_path / "cut.mp4") == pictures(clip.path)
        assert times(tmp_path / "cut.mp4") == [number / Fraction(30) for number in range(clip.frames)]


def test_av1_and_hevc(tmp_path: Path):
    for codec, options in (("libsvtav1", {"preset": "12", "g": "2"}), ("libx265", {"preset": "ultrafast", "g": "2"})):
        clips = [make(tmp_path / f"{n}.mp4", options=options, codec=codec, seed=n) for n in range(2)]
        join(clips, tmp_path / "all.mp4", Fraction(30))
        assert pictures(tmp_path / "all.mp4") == [one for clip in clips for one in pictures(clip.path)]


def in_milliseconds(tmp_path: Path, rate: Fraction) -> Clip:
    """A video whose container counts thousandths of a second."""
    fine = make(tmp_path / "fine.mp4", 9, rate)
    with av.open(str(fine.path)) as source, av.open(str(tmp_path / "coarse.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return Clip(tmp_path / "coarse.mkv", 0, 9)


def test_a_coarse_clock_becomes_a_fine_one(tmp_path: Path):
    join([in_milliseconds(tmp_path, Fraction(25))] * 2, tmp_path / "all.mp4", Fraction(25))
    assert times(tmp_path / "all.mp4") == [number / Fraction(25) for number in range(18)]


def test_times_that_are_rounded_are_refused(tmp_path: Path):
    with pytest.raises(InputError) as refused:  # 33, 67, 100 ms: LeRobot would not find the frames either
        join([in_milliseconds(tmp_path, Fraction(30))], tmp_path / "all.mp4", Fraction(30))
    assert code(refused) == "video_timing"


def test_unlike_videos_are_not_joined(tmp_path: Path):
    one = make(tmp_path / "one.mp4")
    others = [
        make(tmp_path / "coder.mp4", options={**TRAINING, "coder": "cavlc", "preset": "fast"}),
        make(tmp_path / "size.mp4", size=(96, 48)),
        make(tmp_path / "codec.mp4", codec="libsvtav1", options={"preset": "12"}),
    ]
    for other in others:
        with pytest.raises(InputError) as refused:
            join([one, other], tmp_path / "all.mp4", Fraction(30))
        assert code(refused) == "video_unlike"
        assert str(other.path) in refused.value.message
        assert not (tmp_path / "all.mp4").exists()


def test_between_keyframes_nothing_is_cut(tmp_path: Path):
    whole = make(tmp_path / "whole.mp4", 40, options=LONG)
    for part in (Clip(whole.path, 7, 5), Clip(whole.path, 0, 6)):
        with pytest.raises(InputError) as refused:
            join([part], tmp_path / "cut.mp4", Fraction(30))
        assert code(refused) == "not_at_keyframe"


@pytest.mark.parametrize("options", [TRAINING, LONG], ids=["training", "long"])
def test_a_clip_is_decoded_wherever_it_begins(tmp_path: Path, options: dict[str, str]):
    whole = make(tmp_path / "whole.mp4", 40, options=options)
    part = Clip(whole.path, 7, 13)
    found = [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in frames_of(part, Fraction(30))]
    assert found == pictures(whole.path)[7:20]
    with pytest.raises(InputError) as refused:
        list(frames_of(Clip(whole.path, 30, 11), Fraction(30)))
    assert code(refused) == "video_frames"


def test_missing_frames_are_named(tmp_path: Path):
    whole = make(tmp_path / "whole.mp4", 10)
    with pytest.raises(InputError) as refused:
        join([Clip(whole.path, 0, 12)], tmp_path / "all.mp4", Fraction(30))
    assert code(refused) == "video_frames"
    assert "10 of the 12 frames" in refused.value.message


def test_another_rate_is_refused(tmp_path: Path):
    slow = make(tmp_path / "slow.mp4", rate=Fraction(25))
    with pytest.raises(InputError) as refused:
        join([slow], tmp_path / "all.mp4", Fraction(30))
    assert code(refused) == "video_timing"


def test_nothing_is_left_of_a_join_that_fails_on_the_way(tmp_path: Path, small_disk: Path):
    lossless = {"preset": "ultrafast", "crf": "0"}
    clip = make(tmp_path / "large.mp4", 60, size=(320, 240), options=lossless)
    with pytest.raises(DiskFullError) as refused:
        join([clip, clip], small_disk / "all.mp4", Fraction(30))
    assert code(refused) == "disk_full"
    assert not (small_disk / "all.mp4").exists()
