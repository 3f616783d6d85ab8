"""The stages of one episode: what is run, what is published, what is removed, and in which order."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from episoded.daemon import chain, checkpoint, finish
from episoded.daemon.chain import Hooks, Work, work_on
from episoded.daemon.claim import take
from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.daemon.errors import NotAvailableError
from episoded.daemon.identity import pid_scope
from episoded.daemon.publication import apply_edit
from episoded.processors.base import Edit
from episoded.processors.encode.stage import EncodeProcessor
from episoded.processors.metadata.stage import MetadataProcessor
from recordings import EPISODE, Originals, broken_laws, claim_dead, leftovers, pipeline, snapshot, tiny, unsettled, work

if TYPE_CHECKING:
    from collections.abc import Callable

TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny(tmp_path / "dataset")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that were run; every run goes through."""
    seen: list[str] = []

    def watch(processor: Any) -> None:
        real = processor.run

        def run(self: Any, unit: Any, ctx: Any) -> Any:
            seen.append(unit.name)
            return real(self, unit, ctx)

        monkeypatch.setattr(processor, "run", run)

    watch(EncodeProcessor)
    watch(MetadataProcessor)
    return seen


def when(stage: str, unit: str, act: Callable[[], object]) -> Hooks:
    """Hooks that act once, at the first progress of a unit."""
    acted: list[str] = []

    def progress(now_stage: str, now_unit: str, _done: int, _total: int) -> None:
        if (stage, unit) == (now_stage, now_unit) and not acted:
            acted.append(unit)
            act()

    return Hooks(progress=progress)


def stop_after(count: int, level: int = 1) -> Hooks:
    """Hooks that ask to stop once that many units have made progress to their end."""
    done: set[tuple[str, str]] = set()

    def progress(stage: str, unit: str, frames: int, total: int) -> None:
        if frames >= total:
            done.add((stage, unit))

    return Hooks(progress, lambda: level if len(done) >= count else 0)


def interrupt(task: Work, *, before: str) -> None:
    """Work, and end without a word before a step of the finish."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, before, end)
        with pytest.raises(KeyboardInterrupt):
            work_on(task)


def failure(task: Work) -> dict[str, Any]:
    record = task.control.failure(task.control.markers())
    assert record is not None
    return record


def frames(root: Path, camera: str = TOP) -> list[Path]:
    return sorted((root / "images" / camera / EPISODE).glob("*.png"))


def video(root: Path, camera: str = TOP) -> Path:
    return root / f"videos/chunk-000/{camera}/{EPISODE}.mp4"


class TestFromStartToEnd:
    def test_a_recording_becomes_videos_and_nothing_is_left_over(self, root: Path) -> None:
        originals = Originals.of(root)
        assert work_on(work(root)) == "ready"
        assert broken_laws(root) + leftovers(root) + originals.missing_from(root) == []

    def test_an_output_of_its_own_leaves_the_recording_alone(self, root: Path, tmp_path: Path) -> None:
        originals, before, output = Originals.of(root), snapshot(root), tmp_path / "output"
        output.mkdir()
        assert work_on(work(root, output=output, remove_inputs="keep")) == "ready"
        assert snapshot(root) == before
        assert originals.missing_from(output) == []

    def test_inputs_stay_where_the_pipeline_says_so(self, root: Path) -> None:
        assert work_on(work(root, remove_inputs="keep")) == "ready"
        assert len(frames(root)) == 6


class TestNothingRunsTwice:
    def test_what_is_ready_is_not_written_to_again(self, root: Path) -> None:
        task = work(root)
        work_on(task)
        before = snapshot(root)
        with pytest.raises(NotAvailableError):
            work_on(task)
        assert finish.tidy(task.control, root, root)
        assert unsettled(root) == []
        assert snapshot(root) == before

    @pytest.mark.parametrize(
        ("stopped_after", "left"), [(1, [WRIST, "episode"]), (2, ["episode"])], ids=["one camera", "both cameras"]
    )
    def test_units_that_are_done_are_not_run_again(
        self, root: Path, runs: list[str], stopped_after: int, left: list[str]
    ) -> None:
        task = work(root)
        assert work_on(task, stop_after(stopped_after)) == "released"
        videos = {path: path.stat().st_ino for path in root.glob("videos/**/*.mp4")}
        assert len(videos) == stopped_after
        runs.clear()
        assert work_on(task) == "ready"
        assert runs == left
        assert all(path.stat().st_ino == inode for path, inode in videos.items())

    @pytest.mark.parametrize("version", ["v2.1", "dorobot-images"])
    def test_nor_stages_whose_own_edit_changed_their_input(self, tmp_path: Path, runs: list[str], version: Any) -> None:
        """The table of a `dorobot-images` recording is rid of the paths of its frames by the stage that reads it."""
        task = work(tiny(tmp_path / "dataset", version=version))
        interrupt(task, before="make_ready")
        runs.clear()
        assert work_on(task) == "ready"
        assert runs == []

    def test_a_changed_setting_runs_its_stage_and_the_later_ones(self, root: Path, runs: list[str]) -> None:
        assert work_on(work(root), stop_after(2)) == "released"
        first = video(root).read_bytes()
        runs.clear()
        assert work_on(work(root, encode={"crf": 30})) == "ready"
        assert runs == [TOP, WRIST, "episode"]
        assert video(root).read_bytes() != first
        assert broken_laws(root) + leftovers(root) == []


class TestInputs:
    """A frame goes only when it is, as it was listed, in a verified video of a `ready` episode."""

    def test_frames_that_change_while_they_are_read_are_read_again(self, root: Path) -> None:
        task = work(root)
        hooks = when("encode", TOP, lambda: os.utime(frames(root)[0], (0, 0)))
        assert work_on(task, hooks) == "waiting"
        assert failure(task)["code"] == "inputs_changed"
        assert not video(root).exists()
        assert work_on(task) == "ready"

    def test_frames_that_were_replaced_after_they_were_encoded_are_not_lost(self, root: Path, tmp_path: Path) -> None:
        """Uploaded anew while the next camera was being encoded: what would go is in no video yet."""
        other = tiny(tmp_path / "other", seed=1)
        anew = [path.read_bytes() for path in frames(other)]

        def upload_again() -> None:
            for path, content in zip(frames(root), anew, strict=True):
                path.write_bytes(content)

        task = work(root)
        assert work_on(task, when("encode", WRIST, upload_again)) == "waiting"
        assert failure(task)["code"] == "inputs_changed"
        assert [path.read_bytes() for path in frames(root)] == anew
        originals = Originals.of(root)
        assert work_on(task) == "ready"
        assert originals.missing_from(root) == []
        assert leftovers(root) == []

    def test_a_pipeline_that_does_not_encode_removes_none(self, root: Path) -> None:
        assert work_on(work(root, stages=["metadata"])) == "ready"
        assert (len(frames(root)), len(frames(root, WRIST))) == (6, 6)
        assert (root / CONTROL / EPISODE / "cleaned").exists()

    def test_files_that_are_not_listed_stay(self, root: Path) -> None:
        stale = frames(root)[0].with_name("frame_000099.png")
        stale.write_bytes(frames(root)[0].read_bytes())
        assert work_on(work(root)) == "ready"
        assert frames(root) == [stale]

    def test_a_new_upload_after_ready_stays(self, root: Path) -> None:
        task = work(root)
        interrupt(task, before="tidy")
        again = frames(root)[2]
        again.write_bytes(b"another take")
        assert finish.tidy(task.control, root, root)
        assert frames(root) == [again]
        assert frames(root, WRIST) == []

    def test_a_damaged_output_keeps_them(self, root: Path) -> None:
        """Days may lie between `ready` and the removal that a kill interrupted."""
        task = work(root)
        interrupt(task, before="tidy")
        video(root).write_bytes(b"rotten")
        assert not finish.tidy(task.control, root, root)
        assert len(frames(root)) == 6
        assert not task.control.markers().cleaned

    def test_a_checkpoint_that_is_gone_keeps_them(self, root: Path) -> None:
        """What no checkpoint lists cannot be verified any more."""
        task = work(root)
        interrupt(task, before="tidy")
        (task.control.path / "encode.done").unlink()
        assert not finish.tidy(task.control, root, root)
        assert len(frames(root)) == 6

    def test_ready_stays_ready_when_they_cannot_be_removed(self, root: Path, read_only: Callable[[Path], None]) -> None:
        read_only(root / "images")
        task = work(root)
        assert work_on(task) == "ready"
        markers = task.control.markers()
        assert (markers.ready, markers.cleaned, markers.failed, markers.outcome) == (True, False, False, None)


class TestBeforeReady:
    def test_an_output_that_was_damaged_meanwhile_is_made_again(self, root: Path, runs: list[str]) -> None:
        originals, task = Originals.of(root), work(root)
        assert work_on(task, when("encode", WRIST, lambda: video(root).write_bytes(b"rotten"))) == "waiting"
        assert failure(task)["code"] == "output_damaged"
        assert not task.control.markers().ready
        runs.clear()
        assert work_on(task) == "ready"
        assert runs == [TOP, WRIST, "episode"]
        assert originals.missing_from(root) == []
        assert unsettled(root) == []

    def test_an_output_that_is_gone_is_made_again(self, root: Path) -> None:
        task = work(root)
        assert work_on(task, when("encode", WRIST, video(root).unlink)) == "waiting"
        assert work_on(task) == "ready"
        assert broken_laws(root) + leftovers(root) == []

    def test_a_generation_that_was_superseded_publishes_nothing_more(self, root: Path) -> None:
        """Only possible where a lease ran out on another machine."""
        task = work(root)
        assert work_on(task, when("encode", WRIST, task.control.claim(2).touch)) == "lost"
        assert not video(root, WRIST).exists()
        assert task.control.markers().outcome is None
        assert not task.control.outcome(1, "failed").exists()


class TestPublishing:
    """A published file is never replaced, and what is not ours is never lost."""

    def test_a_stranger_at_the_target_is_set_aside_and_kept(self, root: Path) -> None:
        video(root).parent.mkdir(parents=True)
        video(root).write_bytes(b"somebody's only copy")
        assert work_on(work(root)) == "ready"
        (kept,) = (root / CONTROL / EPISODE / "aside").iterdir()
        assert kept.read_bytes() == b"somebody's only copy"
        assert kept.suffix == ".kept"
        assert broken_laws(root) == []

    def test_a_symlink_at_the_target_is_set_aside_itself(self, root: Path, tmp_path: Path) -> None:
        def plant() -> None:
            video(root).parent.mkdir(parents=True)
            video(root).symlink_to(tmp_path / "nowhere")

        assert work_on(work(root), when("encode", TOP, plant)) == "ready"
        assert not video(root).is_symlink()
        assert (root / CONTROL / EPISODE / "aside").is_dir()

    def test_what_a_dead_generation_linked_without_a_checkpoint_is_made_anew(self, root: Path) -> None:
        dead = claim_dead(root)
        scratch = dead.scratch(1) / "encode"
        scratch.mkdir(parents=True)
        (scratch / "half").write_bytes(b"half a video")
        video(root).parent.mkdir(parents=True)
        video(root).hardlink_to(scratch / "half")
        assert work_on(work(root)) == "ready"
        assert video(root).read_bytes() != b"half a video"
        assert leftovers(root) == []  # nothing set aside: it was ours

    def test_a_dataset_that_spans_filesystems_is_refused_with_the_reason(self, root: Path, small_disk: Path) -> None:
        task = work(root, output=small_disk)
        (small_disk / "videos").mkdir()
        _mount_over(small_disk / "videos", root)
        assert work_on(task) == "failed"
        assert failure(task)["code"] == "other_filesystem"

    def test_scratch_of_a_failed_attempt_takes_no_space(self, root: Path) -> None:
        task = work(root)
        frames(root, WRIST)[3].write_bytes(b"no picture")
        assert work_on(task) == "failed"
        assert [
            path for path in task.control.scratch(1).rglob("*") if path.is_file() and path.stat().st_nlink == 1
        ] == []

    def test_scratch_of_a_killed_attempt_goes_with_the_next(self, root: Path) -> None:
        dead = claim_dead(root)
        dead.scratch(1).mkdir()
        (dead.scratch(1) / "half").write_bytes(b"x" * 1000)
        assert work_on(work(root), stop_after(1)) == "released"
        assert not (dead.scratch(1) / "half").exists()


def _mount_over(place: Path, other: Path) -> None:
    subprocess.run(["mount", "--bind", str(other / "meta"), str(place)], check=True)


class TestSharedFiles:
    def test_what_a_recorder_saves_while_we_derive_is_not_lost(self, root: Path) -> None:
        """LeRobot's recorder writes info.json from its memory at every episode, and knows no lock."""
        info = root / "meta" / "info.json"
        saved = iter([b'{"total_episodes": 2}', b'{"total_episodes": 3}'])
        (root / CONTROL).mkdir()

        def derive(current: bytes | None) -> bytes:
            if (late := next(saved, None)) is not None:
                info.write_bytes(late)
            return json.dumps({**json.loads(current or b"{}"), "ours": True}).encode()

        assert apply_edit(root, Edit(PurePosixPath("meta/info.json"), derive))
        assert json.loads(info.read_bytes()) == {"total_episodes": 3, "ours": True}

    def test_no_other_edit_is_made_meanwhile(self, root: Path) -> None:
        (root / CONTROL).mkdir()

        def derive(current: bytes | None) -> bytes:
            with (root / CONTROL / "lock").open("rb") as others, pytest.raises(BlockingIOError):
                fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return (current or b"") + b"\n"

        assert apply_edit(root, Edit(PurePosixPath("meta/info.json"), derive))

    def test_a_temp_of_a_killed_edit_is_swept_by_the_next(self, root: Path) -> None:
        (root / CONTROL).mkdir()
        (dead := root / "meta" / _dead_temp()).touch()
        assert not apply_edit(root, Edit(PurePosixPath("meta/info.json"), lambda current: current))
        assert not dead.exists()


def _dead_temp() -> str:
    return f".t-{pid_scope()}-{os.getpid()}-1-00000000"  # our pid, but started at boot


class TestEndings:
    def test_receipts_of_an_earlier_result_are_no_receipts_of_the_new_one(self, root: Path) -> None:
        task = work(root)
        task.control.create()
        for name in ("published", "published.there"):
            (task.control.path / name).write_text("{}")
        assert work_on(task) == "ready"
        markers = task.control.markers()
        assert (markers.published, set(markers.receipts)) == (False, set())
        assert (task.control.path / "published.there.000001").exists()

    def test_superseded_right_after_publishing_it_says_nothing_of_it(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A checkpoint of a generation that is over would stand in the way of its successor's."""
        task, real = work(root), chain.publish_artifact

        def superseded(control: ControlDir, generation: int, *rest: Any) -> Any:
            output = real(control, generation, *rest)
            control.claim(generation + 1).touch()
            return output

        monkeypatch.setattr(chain, "publish_artifact", superseded)
        assert work_on(task) == "lost"
        assert list(task.control.path.rglob("*.done")) == []

    def test_asked_to_stop_it_gives_the_episode_back_between_units(self, root: Path) -> None:
        task = work(root)
        assert work_on(task, stop_after(1)) == "released"
        markers = task.control.markers()
        assert (markers.outcome, markers.ready, markers.failed) == ("released", False, False)
        assert video(root).exists()
        assert not video(root, WRIST).exists()

    def test_asked_to_stop_now_it_stops_within_a_unit(self, root: Path) -> None:
        task = work(root)
        asked: list[int] = []
        hooks = Hooks(lambda *_: asked.append(2), lambda: max(asked, default=0))
        assert work_on(task, hooks) == "released"
        assert list(root.glob("videos/**/*.mp4")) == []
        assert work_on(task) == "ready"

    def test_wrong_data_fails_at_once_and_names_the_frame(self, root: Path) -> None:
        task = work(root)
        bad = frames(root)[3]
        bad.write_bytes(bad.read_bytes()[:-20])
        assert work_on(task) == "failed"
        assert bad.name in failure(task)["message"]
        assert failure(task)["hint"]
        assert failure(task)["stage"] == "encode"
        assert len(frames(root)) == 6

    def test_the_claim_is_free_afterwards_however_it_ended(self, root: Path) -> None:
        task = work(root)
        work_on(task, stop_after(1))
        take(task.control).close()

    def test_a_bug_is_recorded_with_its_traceback_and_tried_again(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr(MetadataProcessor, "run", broken)
        task = work(root)
        assert [work_on(task) for _ in range(3)] == ["waiting", "waiting", "failed"]
        assert failure(task)["code"] == "internal"
        assert "ZeroDivisionError" in failure(task)["traceback"]


def test_the_checkpoint_says_what_was_made_with_what(root: Path) -> None:
    task = work(root)
    work_on(task)
    record = checkpoint.read(checkpoint.stage_path(task.control, "encode"))
    assert record is not None
    assert [output.path for output in record.outputs] == [
        str(video(root, key).relative_to(root)) for key in (TOP, WRIST)
    ]
    assert record.made_with(EncodeProcessor.version, checkpoint.params_digest(pipeline().params["encode"]))
    ready = read_json(task.control.path / "ready")
    assert ready is not None
    assert {folder: len(files) for folder, files in ready["inputs"].items()} == {
        f"images/{key}/{EPISODE}": 6 for key in (TOP, WRIST)
    }
