"""Videos that are there already are verified, and kept where they are."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from camera_episode import (  # noqa: F401 - fixtures
    DATA,
    KEY,
    STAGE,
    Recorded,
    context,
    failure,
    finished,
    needs_data,
    pngs,
    publish,
    recorded,
    run,
    run_in,
    without_frames,
)
from episoded.processors.encode.params import EncodeParams
from episoded.processors.episode import Episode, FrameSource


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
