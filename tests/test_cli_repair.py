"""`episoded repair`: shows what it would do, does it, and says what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commandline import episoded
from episoded.daemon.claim import take
from episoded.daemon.control import ControlDir
from finished_dataset import chosen, finished, root  # noqa: F401 - fixtures
from lerobot_broken import VARIANTS
from lerobot_data import TOP, info_of, recording
from recordings import contents, snapshot

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_whole_is_left_alone(root: Path, chosen: Path) -> None:
    before = snapshot(root)
    done = episoded("repair", root, "--dry-run", config=chosen)
    assert (done.code, done.out) == (0, "ds: nothing to repair\n")
    assert snapshot(root) == before
    assert episoded("repair", root, config=chosen).out == "ds: nothing to repair\n"


def test_a_dry_run_shows_the_plan_and_changes_nothing(root: Path, chosen: Path) -> None:
    VARIANTS["no videos counted"].spoil(root)
    VARIANTS["json below data"].spoil(root)
    before = snapshot(root)
    done = episoded("repair", root, "--dry-run", config=chosen)
    assert done.code == 0
    assert done.out.splitlines() == [
        "ds: 2 findings can be mended, 0 findings cannot",
        "  take out data/chunk-000/quality.json",
        "           no table of an episode",
        "  write    meta/info.json",
        "           `total_videos` is 0, there are 6",
        f"nothing was changed; to carry it out: episoded repair {root}",
    ]
    assert snapshot(root) == before


def test_it_mends_and_verifies(root: Path, chosen: Path) -> None:
    VARIANTS["no videos counted"].spoil(root)
    VARIANTS["json below data"].spoil(root)
    done = episoded("repair", root, config=chosen)
    assert done.code == 0
    kept = root / ".episoded/repair/000001/kept"
    assert f"what was replaced is kept in {kept}" in done.out.splitlines()
    assert "ready for training" in done.out.splitlines()
    assert info_of(root)["total_videos"] == 6
    assert (kept / "data/chunk-000/quality.json.kept").read_bytes() == b"{}"
    assert b'"total_videos": 0' in (kept / "meta/info.json.kept").read_bytes()
    assert episoded("verify", root, config=chosen).code == 0


def test_what_cannot_be_mended_is_left_with_its_reason(root: Path, chosen: Path) -> None:
    VARIANTS["a truncated video"].spoil(root)
    VARIANTS["no videos counted"].spoil(root)
    done = episoded("repair", root, config=chosen)
    assert done.code == 1
    lines = done.out.splitlines()
    place = f"videos/chunk-000/{TOP}/episode_000000.mp4"
    (left,) = [number for number, line in enumerate(lines) if line.startswith(f"  left     video_unreadable {place}: ")]
    assert lines[left + 1] == "           restore the video, or its frames so that it is encoded again"
    assert "not ready for training: 1 error, 0 warnings" in lines
    assert info_of(root)["total_videos"] == 6


def test_it_refuses_while_an_episode_is_worked_on(tmp_path: Path, chosen: Path) -> None:
    root = recording(tmp_path / "ds")
    claim = take(ControlDir.of(root, "episode_000000"))
    before = contents(root)
    done = episoded("repair", root, config=chosen)
    assert done.code == 75
    assert "episode_000000" in done.err
    assert contents(root) == before
    claim.close()


def test_a_dataset_that_is_being_repaired_says_so(root: Path, chosen: Path) -> None:
    VARIANTS["a gap"].spoil(root)
    died = episoded("repair", root, config=chosen, env={"EPISODED_CRASH_AT": "relocate:taken"})
    assert died.code == -9
    status = episoded("status", root, config=chosen)
    assert "is being repaired: nothing is processed meanwhile" in status.out
    assert episoded("repair", root, "--dry-run", config=chosen).code == 75
    done = episoded("repair", root, config=chosen)
    assert done.code == 0
    assert "ready for training" in done.out.splitlines()
    assert episoded("status", root, config=chosen).code == 0


def test_a_dataset_without_its_info(root: Path, chosen: Path) -> None:
    (root / "meta/info.json").unlink()
    done = episoded("repair", root, config=chosen)
    assert done.code == 0
    assert "the robot's type and the names of joints are written nowhere else and stay empty" in done.out
    assert "ready for training" in done.out.splitlines()
