"""Depth in the chain: killed at any point, handed from CPU workers to those with a GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TESTS
from depth_crash import SETTINGS, outputs, work
from episoded.daemon import chain
from episoded.processors.depth import ladder
from known_depth import KnownDepth
from recordings import copy, leftovers, tiny

#: Crash points before this one lie in the stages before depth, which test_crash.py is about.
FIRST, STEP = 75, 11


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[], KnownDepth]:
    def put() -> KnownDepth:
        source = KnownDepth()
        monkeypatch.setitem(ladder.WAYS, "video", lambda case: ladder.Way(source, case.frames))
        return source

    return put


def test_a_kill_at_any_point_repeats_no_finished_segment(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, str(TESTS / "depth_crash.py"), str(tmp_path), str(FIRST), str(STEP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert set(said) == {"ok"}, done.stdout + done.stderr
    assert len(said) >= 8


class TestHandingOver:
    def test_a_worker_without_a_gpu_leaves_depth_to_another(
        self, tmp_path: Path, known: Callable[[], KnownDepth]
    ) -> None:
        source, root = known(), tiny(tmp_path / "data", frames=9)
        without = chain.Work(root, root, "episode_000000", "lerobot", work(root).pipeline, devices=())
        assert chain.work_on(without) == "handed_over"
        markers = without.control.markers()
        assert (markers.stages_done, markers.outcome, markers.ready) == ({"encode", "metadata"}, "released", False)
        assert source.asked == []
        with_one = chain.Work(root, root, "episode_000000", "lerobot", work(root).pipeline, devices=("cuda:1",))
        assert chain.work_on(with_one) == "ready"
        assert source.devices == ("cuda:1",)
        assert markers.generation + 1 == with_one.control.markers().generation
        assert leftovers(root) == []

    def test_what_is_done_needs_no_gpu(self, tmp_path: Path, known: Callable[[], KnownDepth]) -> None:
        """Killed between the last stage and `ready`: any worker can finish it."""
        source, root = known(), tiny(tmp_path / "data", frames=9)
        assert chain.work_on(work(root)) == "ready"
        assert len(source.asked) == 18
        control, before = work(root).control, outputs(root)
        (control.path / "ready").unlink()
        (control.path / "cleaned").unlink()
        without = chain.Work(root, root, "episode_000000", "lerobot", work(root).pipeline, devices=())
        assert chain.work_on(without) == "ready"
        assert (len(source.asked), outputs(root)) == (18, before)


def test_the_pieces_of_other_settings_are_not_used_and_go(
    tmp_path: Path, known: Callable[[], KnownDepth], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, root = known(), tiny(tmp_path / "data", frames=22)
    first = work(root)

    def stop_after_a_segment() -> int:
        return 2 if len(source.asked) > 12 else 0

    assert chain.work_on(first, chain.Hooks(stop=stop_after_a_segment)) == "released"
    parts = first.control.path / "depth" / "observation.images.top.parts"
    assert [path.name for path in sorted(parts.glob("*/*.mkv"))] == ["00000.mkv"]
    again = copy(root, tmp_path / "again")
    source = known()
    assert chain.work_on(work(again)) == "ready"
    assert len(source.asked) == 2 * 22 - 8
    monkeypatch.setitem(SETTINGS, "depth", {"segment_frames": 5, "preview": False})
    source = known()
    assert chain.work_on(work(root)) == "ready"
    assert len(source.asked) == 2 * 22
    assert not list(root.rglob("*.parts"))
    assert leftovers(root) == leftovers(again) == []
