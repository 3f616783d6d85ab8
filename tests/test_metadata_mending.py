"""Metadata that a recorder wrote over after an episode was finished is brought up to date again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from episoded.processors.metadata.mend import mending_edits
from lerobot_data import (
    LEROBOT,
    finish,
    recording,
    root,  # noqa: F401 - a fixture
)

if TYPE_CHECKING:
    from pathlib import Path


class TestMending:
    def test_has_nothing_to_do_before_an_episode_is_finished(self, root: Path) -> None:
        assert mending_edits(LEROBOT.name, root, root) == []

    def test_brings_back_what_a_recorder_wrote_over(self, tmp_path: Path) -> None:
        root = recording(tmp_path / "dataset", version="dorobot")
        received = {name: (root / "meta" / name).read_bytes() for name in ("info.json", "episodes_stats.jsonl")}
        finish(root)
        finished = {name: (root / "meta" / name).read_bytes() for name in received}
        assert finished["info.json"] != received["info.json"]
        (root / "meta/info.json").write_bytes(received["info.json"])
        (root / "meta/episodes_stats.jsonl").unlink()
        for _ in range(2):
            mend(root)
            assert {name: (root / "meta" / name).read_bytes() for name in received} == finished

    def test_is_idempotent(self, root: Path) -> None:
        finish(root)
        for edit in mending_edits(LEROBOT.name, root, root):
            now = (root / edit.target).read_bytes()
            assert edit.derive(now) in (None, now)


def mend(root: Path) -> None:
    for edit in mending_edits(LEROBOT.name, root, root):
        path = root / edit.target
        new = edit.derive(path.read_bytes() if path.exists() else None)
        if new is not None:
            path.write_bytes(new)
