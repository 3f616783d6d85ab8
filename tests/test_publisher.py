"""The daemon publishes what is ready: whole, once, proven, whatever is killed on the way."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from conftest import eventually
from episoded.daemon.publisher import desk
from episoded.daemon.state import State
from publishing import artifacts, names, receipt, table
from recordings import EPISODE
from sites import FolderSite

if TYPE_CHECKING:
    from pathlib import Path

    from daemons import Daemon

PIPELINE = """
[pipelines.default]
destinations = {destinations}
{more}
"""


def publish_to(daemon: Daemon, site: FolderSite, more: str = "", **settings: object) -> None:
    daemon.configure(
        PIPELINE.format(destinations='["there"]', more=more),
        table("there", site.kind, site.settings, **{"interval_s": 0, **settings}),
        rescan_s=0.5,
    )


@pytest.fixture
def site(tmp_path: Path) -> FolderSite:
    return FolderSite(tmp_path / "site")


class TestPublishing:
    def test_a_ready_episode_arrives_and_has_a_receipt(self, daemon: Daemon, site: FolderSite) -> None:
        publish_to(daemon, site)
        daemon.start()
        dataset = daemon.upload("arm", episodes=2)
        daemon.wait_for(dataset, State.PUBLISHED)
        daemon.wait_for(dataset, State.PUBLISHED, "episode_000001")
        there = artifacts(site.root / "arm")
        assert there == artifacts(dataset)
        for episode in (EPISODE, "episode_000001"):
            told = receipt(dataset, episode)
            assert told
            assert told["place"] == str(site.root)
            listed = {entry["target"].removeprefix("arm/"): entry["sha256"] for entry in told["files"]}
            assert {path for path in there if episode in path} <= listed.keys()
            assert all(there[path] == digest for path, digest in listed.items() if path in there)
        assert daemon.terminate() == 0

    def test_a_batch_waits_for_its_time(self, daemon: Daemon, site: FolderSite) -> None:
        """The bytes are there early, and nobody sees them; `flush` does not wait."""
        publish_to(daemon, site, interval_s=3600)
        daemon.start()
        dataset = daemon.upload("arm")
        staged = site.root / ".episoded" / "staged"
        eventually(lambda: staged.is_dir() and len(list(staged.iterdir())) >= 3, what="the bytes to move")
        assert daemon.state(dataset) is State.READY
        assert site.names() == set()
        desk.flush(daemon.state_dir, "there")
        daemon.wait_for(dataset, State.PUBLISHED)
        eventually(lambda: not desk.wants_flush(daemon.state_dir, "there"), what="the flush to be over")

    def test_destinations_fail_independently(self, daemon: Daemon, site: FolderSite, tmp_path: Path) -> None:
        gone = {"path": str(tmp_path / "not mounted" / "{dataset}")}
        daemon.configure(
            PIPELINE.format(destinations='["there", "gone"]', more=""),
            table("there", "folder", site.settings, interval_s=0),
            table("gone", "folder", gone, interval_s=0),
            rescan_s=0.5,
        )
        daemon.start()
        dataset = daemon.upload("arm")
        eventually(lambda: receipt(dataset, EPISODE), what="the receipt of the one that is there")
        told = eventually(lambda: desk.blocked(daemon.state_dir, "gone"), what="the other one to be blocked")
        assert told["code"] == "folder_missing"
        assert "episoded resume" in told["hint"]
        assert daemon.state(dataset) is State.READY
        other = daemon.upload("leg", seed=1)
        eventually(lambda: receipt(other, EPISODE), what="the next one to go on")
        (tmp_path / "not mounted").mkdir()
        desk.resume(daemon.state_dir, "gone")
        daemon.wait_for(dataset, State.PUBLISHED)
        assert artifacts(tmp_path / "not mounted" / "arm") == artifacts(dataset)

    def test_shared_files_follow_those_that_come_later(self, daemon: Daemon, site: FolderSite) -> None:
        publish_to(daemon, site)
        daemon.start()
        dataset = daemon.upload("arm")
        daemon.wait_for(dataset, State.PUBLISHED)
        (dataset / "meta" / "tasks.jsonl").write_text('{"task_index": 0, "task": "another"}\n')
        eventually(lambda: site.read("arm/meta/tasks.jsonl") == (dataset / "meta/tasks.jsonl").read_bytes())


class TestRemoval:
    def test_frames_go_after_the_receipt_and_the_grace(self, daemon: Daemon, site: FolderSite) -> None:
        publish_to(daemon, site, more='remove_inputs = "after_published"\ngrace_s = 1', interval_s=3600)
        daemon.start()
        dataset = daemon.upload("arm")
        daemon.wait_for(dataset, State.READY)
        frames = len(list(dataset.rglob("*.png")))
        assert frames == 12
        desk.flush(daemon.state_dir, "there")
        daemon.wait_for(dataset, State.PUBLISHED)
        proven = time.monotonic()
        daemon.wait_until_finished(dataset)
        assert time.monotonic() - proven > 0.5
        assert list(dataset.rglob("*.png")) == []


class TestKills:
    def test_sigkill_at_random_moments_ends_in_the_same_state(self, daemon: Daemon, site: FolderSite) -> None:
        publish_to(daemon, site, max_files=8)
        datasets = [daemon.upload(f"arm{number}", episodes=3, seed=number) for number in range(2)]
        chance = random.Random(5)
        for _ in range(6):
            daemon.start()
            time.sleep(chance.uniform(0, 0.8))  # a moment like any other: no condition is waited for
            daemon.kill()
        daemon.start()
        for dataset in datasets:
            for episode in range(3):
                daemon.wait_for(dataset, State.PUBLISHED, f"episode_{episode:06d}")
            eventually(
                lambda dataset=dataset: artifacts(site.root / dataset.name) == artifacts(dataset),
                what="all of it to be there",
            )


class TestMadeAgain:
    def test_an_episode_that_is_made_again_takes_its_own_place(self, daemon: Daemon, site: FolderSite) -> None:
        publish_to(daemon, site, more='remove_inputs = "keep"')
        daemon.start()
        dataset = daemon.upload("arm")
        daemon.wait_for(dataset, State.PUBLISHED)
        before = artifacts(site.root / "arm")
        publish_to(daemon, site, more='remove_inputs = "keep"\n[pipelines.default.encode]\ncrf = 30')
        from commandline import episoded

        assert episoded("retry", dataset, "--from", "encode", config=daemon.config).code == 0
        assert {"published", "published.there"} & names(dataset, EPISODE) == set()
        daemon.terminate()
        daemon.start()
        daemon.wait_for(dataset, State.PUBLISHED)
        after = artifacts(site.root / "arm")
        assert after == artifacts(dataset)
        assert after != before
