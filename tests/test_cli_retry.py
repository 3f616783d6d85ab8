"""`episoded retry`: failures and finished stages are taken out of force; nothing is deleted, nothing is half done."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded
from episoded.daemon import attempts, config
from episoded.daemon.chain import work_on
from episoded.daemon.config import DropConfig
from episoded.daemon.control import ControlDir
from episoded.daemon.errors import EpisodedError, InputError, NotAvailableError, RetryableError
from episoded.daemon.finish import tidy
from episoded.daemon.retry import retry
from episoded.daemon.scan import DatasetView, EpisodeView, Scanner
from episoded.daemon.state import State
from recordings import EPISODE, broken_laws, claim_dead, copy, leftovers, snapshot, tiny, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

POLICY = attempts.AttemptPolicy(limit=3, delay_s=3000)


def view(root: Path, episode: str = EPISODE) -> tuple[DatasetView, EpisodeView]:
    """A dataset and one of its episodes, as a scan sees them."""
    drop = DropConfig(path=root.parent)
    dataset = Scanner((drop,)).scan_dataset(drop, root)
    assert dataset is not None
    return dataset, next(one for one in dataset.episodes if one.id == episode)


def fail(root: Path, error: EpisodedError) -> ControlDir:
    control = claim_dead(root)
    attempts.record_failure(control, control.markers().generation, error, "encode", POLICY)
    return control


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny(tmp_path / "ds")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A configuration that keeps the frames."""
    return configure(tmp_path, more='[pipelines.default]\nremove_inputs = "keep"\n')


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is ready and tidy, its frames gone. To be copied."""
    folder = tmp_path_factory.mktemp("finished")
    root = tiny(folder / "ds")
    assert episoded("process", root, config=configure(folder)).code == 0
    return root


class TestAFailure:
    def test_is_cleared_and_its_attempts_count_anew(self, root: Path) -> None:
        control = fail(root, InputError("png_truncated", "a frame ends early", "copy it again"))
        assert retry(*view(root))
        assert view(root)[1].state is State.PENDING
        fail(root, RetryableError("io_error", "slow", ""))
        assert (control.failure(control.markers()) or {})["attempt"] == 1

    def test_stays_readable(self, root: Path) -> None:
        control = fail(root, InputError("png_truncated", "a frame ends early", "copy it again"))
        before = (control.path / "failed").read_bytes()
        retry(*view(root))
        assert (control.path / "failed.000001").read_bytes() == before

    def test_that_waits_is_tried_again_at_once(self, root: Path) -> None:
        fail(root, RetryableError("io_error", "slow", ""))
        assert view(root)[1].state is State.WAITING
        assert retry(*view(root))
        assert view(root)[1].state is State.PENDING

    def test_can_be_cleared_more_than_once(self, root: Path) -> None:
        for _ in range(3):
            fail(root, InputError("png_truncated", "a frame ends early", "copy it again"))
            assert retry(*view(root))
        assert view(root)[1].state is State.PENDING
        assert not retry(*view(root)), "there is nothing left to clear"

    def test_with_a_stage_runs_that_stage_again(self, root: Path, kept: Path) -> None:
        episoded("process", root, config=kept)
        control = ControlDir.of(root, EPISODE)
        (control.path / "ready").rename(control.path / "ready.000001")
        fail(root, InputError("odd", "a failure after the stages", ""))
        assert retry(*view(root), ("metadata",))
        assert control.markers().stages_done == {"encode"}


class TestAFinishedEpisode:
    def test_is_left_alone_without_a_stage(self, tmp_path: Path, finished: Path) -> None:
        root = copy(finished, tmp_path / "ds")
        before = snapshot(root)
        assert not retry(*view(root))
        assert snapshot(root) == before

    def test_runs_the_stage_and_what_comes_after_it_again(self, root: Path, kept: Path) -> None:
        episoded("process", root, config=kept)
        video = next(root.glob("videos/*/*/*.mp4"))
        first = video.stat().st_ino
        done = episoded("retry", root, "--from", "encode", config=kept)
        assert (done.code, "1 episode to be tried again" in done.out) == (0, True)
        assert episoded("process", root, "--crf", "30", config=kept).code == 0
        assert video.stat().st_ino != first
        assert broken_laws(root) == []

    def test_keeps_what_was_measured_on_frames_that_are_gone(self, tmp_path: Path, finished: Path) -> None:
        """A video that stands in for its frames was once taken for a changed input: PSNR and statistics were lost."""
        root, chosen = copy(finished, tmp_path / "ds"), configure(tmp_path)
        quality = (ControlDir.of(root, EPISODE).path / "quality.json").read_bytes()
        statistics = (root / "meta" / "episodes_stats.jsonl").read_bytes()
        assert episoded("retry", root, "--from", "metadata", config=chosen).code == 0
        assert episoded("process", root, config=chosen).code == 0
        assert (ControlDir.of(root, EPISODE).path / "quality.json").read_bytes() == quality
        assert (root / "meta" / "episodes_stats.jsonl").read_bytes() == statistics

    def test_keeps_its_videos_when_settings_changed_and_frames_are_gone(self, tmp_path: Path, finished: Path) -> None:
        root, chosen = copy(finished, tmp_path / "ds"), configure(tmp_path)
        videos = {path: path.read_bytes() for path in root.glob("videos/*/*/*.mp4")}
        assert episoded("retry", root, "--from", "metadata", config=chosen).code == 0
        assert episoded("process", root, "--crf", "40", config=chosen).code == 0
        assert {path: path.read_bytes() for path in videos} == videos
        quality = json.loads((ControlDir.of(root, EPISODE).path / "quality.json").read_text())
        assert all(camera["psnr_db"] for camera in quality["cameras"])

    def test_cannot_be_encoded_again_without_its_frames(self, tmp_path: Path, finished: Path) -> None:
        root, chosen = copy(finished, tmp_path / "ds"), configure(tmp_path)
        before = snapshot(root)
        done = episoded("retry", root, "--from", "encode", config=chosen)
        assert done.code == 1
        assert "the frames of observation.images.top, observation.images.wrist are no longer there" in done.err
        assert 'remove_inputs = "keep"' in done.err
        assert snapshot(root) == before

    def test_killed_at_any_point_it_comes_to_a_good_end(self, tmp_path: Path, finished: Path) -> None:
        chosen, points = configure(tmp_path), 0
        while True:
            points += 1
            root = copy(finished, tmp_path / f"at{points}" / "ds")
            done = episoded("retry", root, "--from", "metadata", config=chosen, env={"EPISODED_CRASH_AT": str(points)})
            assert broken_laws(root) == []
            control = ControlDir.of(root, EPISODE)
            assert control.markers().ready or work_on(work(root)) == "ready"
            assert tidy(control, root, root)
            assert leftovers(root) == []
            if done.code == 0:
                break
        assert points > 8, "the crash points were not armed"


class TestWhatIsNotDone:
    def test_an_episode_in_hand_is_left_to_its_owner(self, root: Path, actor: Callable[..., Actor]) -> None:
        owner = actor("hold", ControlDir.of(root, EPISODE).path)
        assert owner.heard() == "claimed 1"
        with pytest.raises(NotAvailableError, match="is being worked on"):
            retry(*view(root), ("encode",))

    def test_what_has_not_begun_has_nothing_to_try_again(self, root: Path) -> None:
        before = snapshot(root)
        assert not retry(*view(root), ("encode",))
        assert snapshot(root) == before

    def test_a_stage_that_does_not_exist_is_a_wrong_command_line(self, tmp_path: Path, root: Path) -> None:
        done = episoded("retry", root, "--from", "fly", config=configure(tmp_path))
        assert done.code == 2
        assert "its stages are encode, metadata" in done.err


class TestTheCommand:
    def test_failed_ones_only(self, tmp_path: Path, kept: Path) -> None:
        root = tiny(tmp_path / "two", episodes=2)
        frame = root / "images/observation.images.top/episode_000001/frame_000001.png"
        whole = frame.read_bytes()
        frame.write_bytes(whole[:100])
        assert episoded("process", root, config=kept).code == 1
        done = episoded("retry", root, "--failed", "--from", "encode", config=kept)
        assert (done.code, "1 episode to be tried again" in done.out) == (0, True)
        assert ControlDir.of(root, "episode_000000").markers().ready

    def test_nothing_to_do_is_no_failure(self, tmp_path: Path, root: Path) -> None:
        done = episoded("retry", root, config=configure(tmp_path))
        assert (done.code, done.out) == (0, "nothing to try again\n")

    def test_an_episode_that_was_named_is_answered_for(self, tmp_path: Path, finished: Path) -> None:
        root = copy(finished, tmp_path / "ds")
        done = episoded("retry", root / EPISODE, config=configure(tmp_path))
        assert f"ds/{EPISODE}: is ready" in done.out

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a folder read-only")
    def test_a_dataset_that_cannot_be_written_is_said(
        self, tmp_path: Path, root: Path, read_only: Callable[[Path], None]
    ) -> None:
        fail(root, InputError("png_truncated", "a frame ends early", "copy it again"))
        read_only(root)
        done = episoded("retry", root, config=configure(tmp_path))
        assert done.code == 1
        assert "Read-only file system" in done.err


def test_the_stages_are_those_of_the_drop_folders_pipeline(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    root = tiny(tmp_path / "drop" / "ds")
    table = f"[[drop]]\npath = '{tmp_path}/drop'\npipeline = 'lean'\n[pipelines.lean]\nstages = ['metadata']\n"
    chosen = configure(tmp_path, table)
    assert config.load(chosen).pipelines["lean"].stages == ("metadata",)
    assert episoded("retry", root, "--from", "encode", config=chosen).code == 2
    assert episoded("retry", root, "--from", "metadata", config=chosen).code == 0
