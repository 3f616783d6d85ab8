"""The settings of a video: those that were asked for, and those that a camera's earlier videos ask for."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from pydantic import ValidationError

from camera_episode import (
    Recorded,
    failure,
    publish,
    recorded,  # noqa: F401 - a fixture
    run,
    scene,
)
from episoded.processors.encode.encoders import refusal
from episoded.processors.encode.params import EncodeParams
from episoded.processors.errors import EpisodedError
from episoded.processors.media import video
from episoded.processors.media.writer import Encoding, VideoWriter


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
