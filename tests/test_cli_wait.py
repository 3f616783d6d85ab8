"""`episoded wait`: what a training job calls first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from commandline import begin, configure, episoded, finish
from episoded.daemon import attempts
from episoded.daemon.cli.wait import REFUSED_S, Waiting
from episoded.daemon.config import DropConfig
from episoded.daemon.control import submit_dataset
from episoded.daemon.errors import ExitCode, InputError, RetryableError
from episoded.daemon.scan import Scanner
from recordings import claim_dead, tiny

if TYPE_CHECKING:
    from pathlib import Path

    from episoded.daemon.scan import DropView


@dataclass
class Place:
    """A place that is waited for, with a clock of its own."""

    folder: Path
    complete: str = "rename"
    now: float = 0.0
    scanner: Scanner = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        drop = DropConfig.model_validate({"path": self.folder, "complete": self.complete})
        self.scanner = Scanner((drop,))
        self.waiting = Waiting(self.look, clock=lambda: self.now)

    def look(self) -> DropView | None:
        (view,) = self.scanner.scan()
        return view if view.datasets else None

    def after(self, seconds: float) -> ExitCode | None:
        self.now += seconds
        return self.waiting.poll()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "drop")


class TestWhatIsWaitedFor:
    def test_a_place_with_nothing_in_it(self, place: Place) -> None:
        assert place.after(3600) is None
        assert place.waiting.progress == "nothing there yet"

    def test_every_episode_that_is_known(self, place: Place) -> None:
        tiny(place.folder / "ds", episodes=2)
        assert place.after(3600) is None
        assert place.waiting.progress == "0 of 2 episodes ready, 2 arriving"

    def test_a_dataset_that_knows_no_episode_yet(self, place: Place) -> None:
        root = tiny(place.folder / "ds")
        (root / "meta" / "episodes.jsonl").write_text("")
        assert place.after(3600) is None

    def test_not_orphans_but_they_are_said(self, place: Place) -> None:
        root = tiny(place.folder / "ds")
        (root / "images/observation.images.top/episode_000005").mkdir()
        (root / "images/observation.images.top/episode_000005/frame_000000.png").write_bytes(b"")
        place.after(0)
        (warning,) = place.waiting.warnings
        assert warning.startswith("ds/episode_000005: 1 frames of observation.images.top")

    def test_one_that_is_tried_again_by_itself(self, place: Place) -> None:
        control = claim_dead(tiny(place.folder / "ds"))
        policy = attempts.AttemptPolicy(delay_s=3000)
        attempts.record_failure(control, 1, RetryableError("io_error", "slow", ""), None, policy)
        assert place.after(0) is None
        assert place.waiting.progress == "0 of 1 episode ready, 1 waiting"


class TestFailure:
    def test_one_failed_episode_ends_it(self, place: Place) -> None:
        control = claim_dead(tiny(place.folder / "ds", episodes=2))
        attempts.record_failure(
            control, 1, InputError("png_truncated", "ends early", ""), None, attempts.AttemptPolicy()
        )
        assert place.after(0) is ExitCode.FAILED
        assert place.waiting.failures == ["ds/episode_000000: ends early [png_truncated]"]

    def test_a_refused_dataset_ends_it_when_that_lasts(self, place: Place) -> None:
        root = tiny(place.folder / "ds")
        (root / "meta" / "info.json").write_text('{"codebase_version": "v1.6", "features": {}}')
        assert place.after(0) is None
        assert place.after(REFUSED_S - 1) is None
        assert place.after(1) is ExitCode.FAILED

    def test_not_while_its_uploader_has_not_said_that_it_is_whole(self, tmp_path: Path) -> None:
        place = Place(tmp_path / "drop", complete="marker")
        root = tiny(place.folder / "ds")
        (root / "meta" / "info.json").write_text('{"codebase_version": "v1.6", "features": {}}')
        assert [place.after(0), place.after(3600)] == [None, None]
        submit_dataset(root)
        assert place.after(0) is ExitCode.FAILED

    def test_not_while_metadata_is_being_written(self, place: Place) -> None:
        root = tiny(place.folder / "ds")
        (root / "meta" / "info.json").write_text('{"codebase_version": "v2')
        assert [place.after(0), place.after(3600)] == [None, None]


class TestTheCommand:
    def test_it_may_start_before_the_recording(self, tmp_path: Path) -> None:
        root, chosen = tmp_path / "later" / "ds", configure(tmp_path)
        waiting = begin("wait", root, "--timeout", 100, config=chosen)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "nothing there yet\n"
        tiny(root)
        assert waiting.stdout.readline() == "0 of 1 episode ready, 1 arriving\n"
        assert episoded("process", root, config=chosen).code == 0
        done = finish(waiting)
        assert done.code == 0
        assert done.out.endswith("1 of 1 episode ready\n")

    def test_what_is_ready_is_not_waited_for(self, tmp_path: Path) -> None:
        root, chosen = tiny(tmp_path / "ds"), configure(tmp_path)
        episoded("process", root, config=chosen)
        assert episoded("wait", root, "--timeout", 0, config=chosen).code == 0
        assert episoded("wait", root / "episode_000000", "--for", "ready", "--timeout", 0, config=chosen).code == 0

    def test_a_failure_is_1_and_is_named(self, tmp_path: Path) -> None:
        root, chosen = tiny(tmp_path / "ds", episodes=2), configure(tmp_path)
        next(root.glob("images/*/episode_000001/frame_000003.png")).unlink()
        episoded("process", root, config=chosen)
        done = episoded("wait", root, config=chosen)
        assert done.code == 1
        assert "failed: ds/episode_000001: " in done.err
        assert "frame_000003.png" in done.err

    def test_the_time_that_is_up_is_124(self, tmp_path: Path) -> None:
        done = episoded("wait", tmp_path / "never", "--timeout", "0.1", config=configure(tmp_path))
        assert done.code == 124
        assert "not ready within 0.1 s" in done.err

    def test_it_says_that_nobody_is_working(self, tmp_path: Path) -> None:
        done = episoded("wait", tmp_path / "never", "--timeout", "0", config=configure(tmp_path))
        assert "no service is running here" in done.err
