"""The daemon publishes what is ready: whole, once, proven, whatever is killed on the way."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from commandline import episoded
from conftest import eventually
from episoded.daemon.publisher import desk
from episoded.daemon.state import State
from hub_server import WRITE_TOKEN, HubServer
from publishing import artifacts, fill, names, ready, receipt, table
from recordings import EPISODE
from sites import FolderSite, HubSite

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        rescan_s=0.2,
        cpu=1,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode that is ready: for tests of what happens then."""
    return ready(tmp_path_factory.mktemp("made") / "arm", episodes=1)


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

    def test_a_batch_waits_for_its_time(self, daemon: Daemon, made: Path, site: FolderSite) -> None:
        """The bytes are there early, and nobody sees them; `flush` does not wait."""
        publish_to(daemon, site, interval_s=3600)
        daemon.start()
        dataset = daemon.receive(made, "arm")
        staged = site.root / ".episoded" / "staged"
        eventually(lambda: staged.is_dir() and len(list(staged.iterdir())) >= 3, what="the bytes to move")
        assert daemon.state(dataset) is State.READY
        assert site.names() == set()
        desk.flush(daemon.state_dir, "there")
        daemon.wait_for(dataset, State.PUBLISHED)
        eventually(lambda: not desk.wants_flush(daemon.state_dir, "there"), what="the flush to be over")

    def test_destinations_fail_independently(
        self, daemon: Daemon, made: Path, site: FolderSite, tmp_path: Path
    ) -> None:
        gone = {"path": str(tmp_path / "not mounted" / "{dataset}")}
        daemon.configure(
            PIPELINE.format(destinations='["there", "gone"]', more=""),
            table("there", "folder", site.settings, interval_s=0),
            table("gone", "folder", gone, interval_s=0),
            rescan_s=0.2,
            cpu=1,
        )
        daemon.start()
        dataset = daemon.receive(made, "arm")
        eventually(lambda: receipt(dataset, EPISODE), what="the receipt of the one that is there")
        told = eventually(lambda: desk.blocked(daemon.state_dir, "gone"), what="the other one to be blocked")
        assert told["code"] == "folder_missing"
        assert "episoded resume" in told["hint"]
        assert daemon.state(dataset) is State.READY
        other = daemon.receive(made, "leg")
        eventually(lambda: receipt(other, EPISODE), what="the next one to go on")
        (tmp_path / "not mounted").mkdir()
        desk.resume(daemon.state_dir, "gone")
        daemon.wait_for(dataset, State.PUBLISHED)
        assert artifacts(tmp_path / "not mounted" / "arm") == artifacts(dataset)

    def test_shared_files_follow_those_that_come_later(self, daemon: Daemon, made: Path, site: FolderSite) -> None:
        publish_to(daemon, site)
        daemon.start()
        dataset = daemon.receive(made, "arm")
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
        for _ in range(3):
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
        daemon.terminate()  # else it begins at once, with the settings that it was started with
        publish_to(daemon, site, more='remove_inputs = "keep"\n[pipelines.default.encode]\ncrf = 30')
        assert episoded("retry", dataset, "--from", "encode", config=daemon.config).code == 0
        assert {"published", "published.there"} & names(dataset, EPISODE) == set()
        daemon.start()
        daemon.wait_for(dataset, State.PUBLISHED)
        after = artifacts(site.root / "arm")
        assert after == artifacts(dataset)
        assert after != before


class TestTheHub:
    """With the process of its own that the service gives a destination."""

    @pytest.fixture
    def hub(self, tmp_path: Path) -> Iterator[HubServer]:
        with HubServer(tmp_path / "hub") as server:
            yield server

    def publish(self, daemon: Daemon, hub: HubServer, tmp_path: Path, **more: object) -> HubSite:
        site = HubSite(hub, tmp_path, dataset="arm")
        settings = {"interval_s": 0, "xet": False, **more}
        daemon.configure(
            PIPELINE.format(destinations='["there"]', more=""),
            table("there", site.kind, site.settings, **settings),
            rescan_s=0.2,
            cpu=1,
        )
        return site

    def once(self, hub: HubServer, dataset: Path, episodes: int) -> None:
        """Every file of every episode is there, in one commit only, and no blob was sent twice."""
        commits = hub.repositories["me/arm"].commits
        for episode in range(episodes):
            told = receipt(dataset, f"episode_{episode:06d}")
            assert told
            for entry in told["files"]:
                assert sum(entry["target"] in commit.added for commit in commits) == 1, entry["target"]
        assert [digest for digest, count in hub.puts().items() if count > 1] == []

    def test_killed_again_and_again_nothing_is_sent_or_committed_twice(
        self, daemon: Daemon, hub: HubServer, tmp_path: Path
    ) -> None:
        self.publish(daemon, hub, tmp_path, max_files=8)
        hub.fail(r"POST .*/commit/", lose_response=True, skip=2)
        dataset = daemon.upload("arm", episodes=3)
        chance = random.Random(11)
        for _ in range(3):
            daemon.start()
            time.sleep(chance.uniform(0.5, 2.5))  # a moment like any other: no condition is waited for
            daemon.kill()
        daemon.start()
        for episode in range(3):
            daemon.wait_for(dataset, State.PUBLISHED, f"episode_{episode:06d}")
        self.once(hub, dataset, 3)
        eventually(lambda: "v2.1" in hub.repositories["me/arm"].tags, what="the tag of a whole dataset")

    def test_a_transfer_that_hangs_is_killed_and_done_again(
        self, daemon: Daemon, hub: HubServer, tmp_path: Path
    ) -> None:
        """The server says nothing, the client would wait for ever; the other stages go on."""
        self.publish(daemon, hub, tmp_path, stall_s=4, min_rate="10 GB", timeout_s=3600)
        hang = hub.fail(r"PUT /objects/", hang=True)
        daemon.start()
        dataset = daemon.upload("arm")
        eventually(lambda: hang.times == 0, what="the transfer to hang")
        other = daemon.upload("leg", seed=1)
        daemon.wait_for(other)
        daemon.wait_for(dataset, State.PUBLISHED)
        self.once(hub, dataset, 1)

    def test_xet_that_hangs_is_killed_and_then_left(
        self, daemon: Daemon, made: Path, hub: HubServer, tmp_path: Path
    ) -> None:
        """For an answer about its shards it would wait for ever. After two times the bytes go the plain way."""
        hub.xet_over_http = True
        hang = hub.fail(r"POST /cas/v1/shards", hang=True, times=100)
        self.publish(daemon, hub, tmp_path, stall_s=4, min_rate="10 GB", xet=True)
        daemon.start()
        dataset = daemon.receive(made, "arm")
        daemon.wait_for(dataset, State.PUBLISHED)
        assert hang.times < 100
        assert hub.puts()
        self.once(hub, dataset, 1)

    def test_a_full_disk_below_the_cache_of_xet_is_gone_around(
        self, daemon: Daemon, made: Path, hub: HubServer, tmp_path: Path, small_disk: Path
    ) -> None:
        hub.xet_over_http = True
        (small_disk / "there").mkdir()
        (daemon.state_dir / "destinations").mkdir(parents=True)
        (daemon.state_dir / "destinations/there").symlink_to(small_disk / "there")
        fill(small_disk)
        self.publish(daemon, hub, tmp_path, xet=True)
        daemon.start()
        dataset = daemon.receive(made, "arm")
        daemon.wait_for(dataset, State.PUBLISHED)
        assert hub.count(r"POST /cas/v1/xorbs") >= 1
        assert hub.puts()
        self.once(hub, dataset, 1)

    def test_a_server_that_is_away_is_waited_for(
        self, daemon: Daemon, made: Path, hub: HubServer, tmp_path: Path
    ) -> None:
        self.publish(daemon, hub, tmp_path)
        hub.stop()
        daemon.start()
        dataset = daemon.receive(made, "arm")
        daemon.wait_for(dataset)
        told = eventually(lambda: daemon.report().destinations["there"]["offline_since"], what="it to be noticed")
        assert told
        hub.start()
        daemon.wait_for(dataset, State.PUBLISHED)

    def test_a_commit_under_way_is_proven_before_the_service_stops(
        self, daemon: Daemon, made: Path, hub: HubServer, tmp_path: Path
    ) -> None:
        self.publish(daemon, hub, tmp_path)
        slow = hub.fail(r"POST .*/commit/", delay_s=0.7, skip=1)
        daemon.start()
        dataset = daemon.receive(made, "arm")
        eventually(lambda: slow.times == 0, what="the commit to be on its way")
        assert daemon.terminate() == 0
        assert receipt(dataset, EPISODE)
        self.once(hub, dataset, 1)

    def test_the_token_is_on_no_command_line_and_in_no_log(
        self, daemon: Daemon, made: Path, hub: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Laid out as systemd does for `LoadCredential=huggingface-token:...`; the server says it, too."""
        credentials = tmp_path / "run/credentials/episoded.service"
        credentials.mkdir(parents=True, mode=0o500)
        (credentials / "huggingface-token").touch(mode=0o400)
        (credentials / "huggingface-token").write_text(WRITE_TOKEN)
        self.publish(daemon, hub, tmp_path)
        (tmp_path / "token").unlink()
        hub.fail(r"POST .*/commit/", status=403, error=f"{WRITE_TOKEN} may not", skip=1)
        daemon.start(CREDENTIALS_DIRECTORY=str(credentials))
        daemon.receive(made, "arm")
        eventually(lambda: desk.blocked(daemon.state_dir, "there"), what="it to be blocked")
        told = [episoded("status", *options, config=daemon.config).out for options in ([], ["--json"])]
        assert all("forbidden" in one and WRITE_TOKEN not in one for one in told)
        assert not any(WRITE_TOKEN in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
        processes = [psutil.Process(daemon.process.pid), *psutil.Process(daemon.process.pid).children(recursive=True)]
        assert len(processes) >= 2
        assert not any(WRITE_TOKEN in str(process.environ()) for process in processes)
        daemon.terminate()
        said = capfd.readouterr()
        assert "destination_blocked" in said.err
        assert WRITE_TOKEN not in said.out + said.err
        ours = [path for path in daemon.state_dir.rglob("*") if path.is_file()]
        assert not any(WRITE_TOKEN.encode() in path.read_bytes() for path in ours)
