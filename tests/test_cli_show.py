"""`episoded show`: the story of an episode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commandline import configure, episoded, on_terminal, plain
from episoded.daemon import attempts
from episoded.daemon.control import ControlDir
from episoded.daemon.errors import RetryableError
from finished_dataset import chosen, root  # noqa: F401 - fixtures
from recordings import EPISODE, claim_dead, snapshot, tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Actor

TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes: the first is ready, the second failed on its second frame after a first try that could pass."""
    folder = tmp_path_factory.mktemp("finished")
    root = tiny(folder / "ds", episodes=2)
    frame = root / "images" / TOP / "episode_000001" / "frame_000001.png"
    frame.write_bytes(frame.read_bytes()[:100])
    slow = RetryableError("io_error", "the disk was slow", "wait")
    attempts.record_failure(claim_dead(root, "episode_000001"), 1, slow, "encode", attempts.AttemptPolicy())
    assert episoded("process", root, config=configure(folder)).code == 1
    return root


class TestShow:
    def test_attempts_and_how_they_ended(self, finished: Path, chosen: Path) -> None:
        first, second = (
            episoded("show", finished / f"episode_00000{number}", "--json", config=chosen).json for number in (0, 1)
        )
        assert [one["ended"] for one in first["generations"]] == ["ready"]
        assert [one["ended"] for one in second["generations"]] == ["failed", "failed"]
        assert [one["failure"]["code"] for one in second["generations"]] == ["io_error", "png_truncated"]
        assert (first["state"], second["state"]) == ("ready", "failed")
        assert all(one["ended_at"] >= one["began_at"] for one in first["generations"])

    def test_stages_with_timings_and_what_was_measured(self, finished: Path, chosen: Path) -> None:
        encode, metadata = episoded("show", finished / EPISODE, "--json", config=chosen).json["stages"]
        assert (encode["name"], encode["done"], metadata["name"], metadata["done"]) == (
            "encode",
            True,
            "metadata",
            True,
        )
        assert [unit["name"] for unit in encode["units"]] == [TOP, WRIST]
        assert all(unit["seconds"] > 0 and unit["facts"]["psnr_db"]["min"] > 25 for unit in encode["units"])
        assert {artifact["path"].rpartition("/")[2] for artifact in encode["artifacts"]} == {f"{EPISODE}.mp4"}

    def test_the_quality_report_and_what_was_removed(self, finished: Path, chosen: Path) -> None:
        story = episoded("show", finished / EPISODE, "--json", config=chosen).json
        assert [camera["key"] for camera in story["quality"]["cameras"]] == [TOP, WRIST]
        assert story["inputs_removed"] == 12
        assert story["ready_at"] > 0

    def test_the_last_error_with_its_remedy(self, finished: Path, chosen: Path) -> None:
        done = episoded("show", finished / "episode_000001", config=chosen)
        assert done.code == 0
        for words in (
            "failed",
            "[png_truncated]",
            "frame_000001.png",
            "what to do: ",
            "permanent, attempt 2, at encode",
        ):
            assert words in done.out, words

    def test_a_traceback_where_the_fault_is_ours(self, root: Path, chosen: Path) -> None:
        control = claim_dead(tiny(root.parent / "other"))
        try:
            {}["missing"]
        except KeyError as error:
            attempts.record_failure(control, 1, error, "encode", attempts.AttemptPolicy())
        done = episoded("show", root.parent / "other", config=chosen)
        assert "Traceback (most recent call last):" in done.out
        assert '{}["missing"]' in done.out

    def test_one_that_runs_and_one_whose_owner_died(
        self, root: Path, chosen: Path, actor: Callable[..., Actor]
    ) -> None:
        other = tiny(root.parent / "other", episodes=2)
        claim_dead(other, "episode_000000")
        owner = actor("hold", ControlDir.of(other, "episode_000001").path)
        owner.heard()
        dead, alive = (
            episoded("show", other / f"episode_00000{number}", "--json", config=chosen).json for number in (0, 1)
        )
        assert [one["ended"] for one in dead["generations"]] == ["died"]
        assert [(one["ended"], one["pid"]) for one in alive["generations"]] == [(None, owner.pid)]

    def test_one_that_has_not_begun(self, root: Path, chosen: Path) -> None:
        done = episoded("show", tiny(root.parent / "other"), config=chosen)
        assert done.code == 0
        assert "arriving" in done.out
        assert "not done" in done.out

    def test_what_was_tried_again_stays_in_the_story(self, root: Path, chosen: Path) -> None:
        assert episoded("retry", root / EPISODE, "--from", "metadata", config=chosen).code == 0
        assert episoded("process", root / EPISODE, config=chosen).code == 0
        story = episoded("show", root / EPISODE, "--json", config=chosen).json
        assert [one["ended"] for one in story["generations"]] == ["ready", "released", "ready"]

    @pytest.mark.parametrize("columns", [80, 120])
    def test_nothing_leaves_the_terminal(self, finished: Path, chosen: Path, columns: int) -> None:
        for episode in (EPISODE, "episode_000001"):
            code, said = on_terminal("show", finished / episode, columns=columns, config=chosen)
            assert code == 0
            assert max(map(len, plain(said).splitlines())) <= columns

    def test_an_unknown_one_is_4(self, finished: Path, chosen: Path) -> None:
        assert episoded("show", finished / "episode_000009", config=chosen).code == 4
        assert episoded("show", finished, config=chosen).code == 4

    def test_it_changes_nothing(self, root: Path, chosen: Path) -> None:
        before = snapshot(root)
        episoded("show", root / EPISODE, config=chosen)
        episoded("verify", root, config=chosen)
        assert snapshot(root) == before
