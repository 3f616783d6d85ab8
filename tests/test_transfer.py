"""One batch on its way to a folder: what is sent, what is proven, what is never sent."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.daemon.publisher import companions, manifest, receipts
from episoded.daemon.publisher.manifest import Item
from episoded.processors.destinations.errors import BlockedError, TransientError
from hub_server import HubServer
from publishing import Sender, artifacts, dataset, destination, items, names, ready, receipt
from recordings import EPISODE, copy
from sites import FolderSite, HubSite, files, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ready episodes."""
    return ready(tmp_path_factory.mktemp("made") / "arm")


@pytest.fixture
def arm(made: Path, tmp_path: Path) -> Path:
    return copy(made, tmp_path / "arm")


@pytest.fixture
def site(tmp_path: Path) -> FolderSite:
    return FolderSite(tmp_path / "site")


@pytest.fixture
def sender(site: FolderSite, tmp_path: Path) -> Sender:
    return Sender(site, tmp_path / "state")


class TestWhatIsSent:
    def test_everything_that_a_training_job_needs(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        outcome = sender.commit(arm)
        assert [path.name for path in outcome.proven] == [EPISODE, "episode_000001"]
        assert artifacts(site.root / "arm") == artifacts(arm)

    def test_nothing_of_an_episode_comes_after_its_manifest(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        """A folder is not atomic: whoever sees the manifest must see all of it."""
        sender.commit(arm)
        for episode in (EPISODE, "episode_000001"):
            own = [path for path in (site.root / "arm").rglob("*") if path.is_file() and episode in str(path)]
            last = site.root / "arm" / CONTROL / episode / "manifest.json"
            assert last in own
            assert max(path.stat().st_ctime_ns for path in own) == last.stat().st_ctime_ns

    @pytest.mark.parametrize(
        ("patterns", "present", "absent"),
        [
            ({"include": ["meta/*", "*.json"]}, ["meta/info.json", f"{CONTROL}/{EPISODE}/quality.json"], ".parquet"),
            ({"exclude": ["videos/*"]}, ["data/chunk-000/episode_000000.parquet"], ".mp4"),
        ],
    )
    def test_only_what_the_patterns_let_through(
        self,
        site: FolderSite,
        tmp_path: Path,
        arm: Path,
        patterns: dict[str, list[str]],
        present: list[str],
        absent: str,
    ) -> None:
        Sender(site, tmp_path / "state", **patterns).commit(arm)
        assert {f"arm/{name}" for name in present} <= site.names()
        assert [name for name in site.names() if name.endswith(absent)] == []

    def test_a_second_time_nothing_is_sent(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        """The receipts are lost: everything is found there."""
        sender.commit(arm)
        before = {name: (site.root / name).stat().st_ino for name in site.names()}
        for episode in (EPISODE, "episode_000001"):
            receipts.withdraw_one(ControlDir.of(arm, episode), "there")
        outcome = sender.commit(arm)
        assert outcome.commit == ""
        assert {name: (site.root / name).stat().st_ino for name in site.names()} == before
        assert receipt(arm, EPISODE)["commit"] == "found there"

    def test_receipts_are_trusted_where_nothing_is_to_be_asked(
        self, site: FolderSite, tmp_path: Path, arm: Path
    ) -> None:
        outcome = Sender(site, tmp_path / "state", remote_check=False).commit(arm)
        assert len(outcome.proven) == 2
        assert artifacts(site.root / "arm") == artifacts(arm)

    def test_datasets_of_one_place_keep_apart(
        self, sender: Sender, site: FolderSite, arm: Path, made: Path, tmp_path: Path
    ) -> None:
        leg = copy(made, tmp_path / "leg")
        with sender.places.held():
            sender.transfer.commit([*items(arm), *items(leg)], [dataset(arm), dataset(leg)])
        assert artifacts(site.root / "arm") == artifacts(site.root / "leg") == artifacts(arm)

    def test_a_nested_dataset_and_a_place_of_its_own(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        site.settings = {"path": f"{site.root}/{{dataset}}"}
        sender = Sender(site, tmp_path / "state")
        with sender.places.held():
            sender.transfer.commit(items(arm, name="lab/arm"), [dataset(arm, name="lab/arm")])
        assert artifacts(site.root / "lab" / "arm") == artifacts(arm)


class TestProof:
    def test_a_receipt_lists_what_was_read_back(self, sender: Sender, arm: Path, site: FolderSite) -> None:
        sender.commit(arm)
        told = receipt(arm, EPISODE)
        assert told["place"] == str(site.root)
        there = artifacts(site.root / "arm")
        listed = {entry["target"].removeprefix("arm/"): entry["sha256"] for entry in told["files"]}
        own = {path: digest for path, digest in there.items() if EPISODE in path}
        assert len(own) == 3
        assert own.items() <= listed.items()

    def test_there_is_none_for_what_was_lost_on_the_way(
        self, sender: Sender, site: FolderSite, arm: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another writer took a file away between the commit and the look."""
        client = sender.places.at(str(site.root))
        commit = client.commit

        def commit_and_lose(files: Any, message: str) -> str:
            told = commit(files, message)
            next(site.root.glob("arm/videos/**/*.mp4")).unlink()
            return told

        monkeypatch.setattr(client, "commit", commit_and_lose)
        with pytest.raises(TransientError) as raised:
            sender.commit(arm)
        assert raised.value.code == "not_proven"
        assert sender.slept == [0.0, 1.0, 5.0, 20.0], "caches of a server may lag behind"
        assert receipt(arm, EPISODE) is None
        monkeypatch.undo()
        assert len(sender.commit(arm).proven) == 2

    def test_published_only_with_every_receipt(self, arm: Path, sender: Sender) -> None:
        control = ControlDir.of(arm, EPISODE)
        sender.commit(arm)
        assert not receipts.seal(control, ["there", "elsewhere"])
        assert receipts.seal(control, ["there"])
        assert control.markers().published

    def test_no_receipt_for_an_episode_that_is_being_made_again(self, arm: Path) -> None:
        control = ControlDir.of(arm, EPISODE)
        (control.path / "ready").rename(control.path / "ready.000001")
        assert not receipts.write(control, "there", "place", "commit", [])
        assert control.markers().receipts == frozenset()

    def test_a_withdrawn_receipt_stays_readable(self, arm: Path, sender: Sender) -> None:
        sender.commit(arm)
        control = ControlDir.of(arm, EPISODE)
        receipts.seal(control, ["there"])
        receipts.withdraw(control)
        assert control.markers().receipts == frozenset()
        assert not control.markers().published
        assert {"published.there.000001", "published.000001", "manifest.there.000001"} <= names(arm, EPISODE)

    def test_lost_receipts_are_found_again(self, sender: Sender, arm: Path, site: FolderSite) -> None:
        sender.commit(arm)
        for episode in (EPISODE, "episode_000001"):
            for name in ("published.there", "manifest.there"):
                (ControlDir.of(arm, episode).path / name).unlink()
        site.overwrite("arm/data/chunk-000/episode_000001.parquet", b"another")
        with sender.places.held():
            outcome = sender.transfer.reconcile(items(arm))
        assert [path.name for path in outcome.proven] == [EPISODE]
        assert receipt(arm, EPISODE)


class TestWhatIsNeverSent:
    @pytest.mark.parametrize("how", ["flipped", "grown", "gone"])
    def test_a_file_that_changed_since_it_was_made(self, sender: Sender, site: FolderSite, arm: Path, how: str) -> None:
        """It blocks its episode, says so, and costs the other nothing; mended, it is published."""
        video = next(arm.glob(f"videos/*/*/{EPISODE}.mp4"))
        original = video.read_bytes()
        changed = bytes([*original[:-1], original[-1] ^ 1]) if how == "flipped" else original + b"more"
        video.unlink() if how == "gone" else video.write_bytes(changed)
        outcome = sender.commit(arm)
        assert [path.name for path in outcome.proven] == ["episode_000001"]
        assert [path.name for path in outcome.blocked] == [EPISODE]
        told = receipts.read_block(ControlDir.of(arm, EPISODE), "there")
        assert (told["code"], video.name in told["message"]) == ("mutated", True)
        assert "retry --from" in told["hint"]
        assert [name for name in site.names() if EPISODE in name] == []
        video.write_bytes(original)
        assert receipts.unblock(ControlDir.of(arm, EPISODE), "there")
        assert len(sender.commit(arm).proven) == 2

    def test_a_table_that_changed_since_the_manifest(self, sender: Sender, arm: Path) -> None:
        """No stage made it: what it was when the first byte moved is what counts."""
        with sender.places.held():
            sender.transfer.stage(items(arm))
        table = arm / "data/chunk-000/episode_000000.parquet"
        table.write_bytes(table.read_bytes() + b"x")
        assert [path.name for path in sender.commit(arm).blocked] == [EPISODE]

    def test_over_what_somebody_else_has_there(
        self, sender: Sender, site: FolderSite, arm: Path, tmp_path: Path
    ) -> None:
        path = site.root / "arm/data/chunk-000/episode_000000.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"somebody else's")
        outcome = sender.commit(arm)
        assert [path.name for path in outcome.blocked] == [EPISODE]
        assert receipts.read_block(ControlDir.of(arm, EPISODE), "there")["code"] == "conflict"
        assert path.read_bytes() == b"somebody else's"
        receipts.unblock(ControlDir.of(arm, EPISODE), "there")
        assert len(Sender(site, tmp_path / "state", on_conflict="overwrite").commit(arm).proven) == 2

    def test_but_over_what_was_ours(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        """The episode was made again, and its manifest is of what it is now."""
        sender.commit(arm)
        receipts.withdraw(ControlDir.of(arm, EPISODE))
        table = arm / "data/chunk-000/episode_000000.parquet"
        table.write_bytes(table.read_bytes() + b"made again")
        assert len(sender.commit(arm).proven) == 2
        assert site.read("arm/data/chunk-000/episode_000000.parquet") == table.read_bytes()


class TestSharedFiles:
    def test_go_along_as_they_are_now(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        info = arm / "meta/info.json"
        info.write_text(json.dumps({**json.loads(info.read_bytes()), "note": "later"}))
        sender.commit(arm)
        assert site.read("arm/meta/info.json") == info.read_bytes()

    def test_are_in_no_receipt(self, sender: Sender, arm: Path) -> None:
        sender.commit(arm)
        assert [entry for entry in receipt(arm, EPISODE)["files"] if "/meta/" in entry["target"]] == []

    def test_are_settled_until_they_change(self, sender: Sender, site: FolderSite, arm: Path) -> None:
        assert not companions.is_settled(dataset(arm), sender.config)
        sender.commit(arm)
        assert companions.is_settled(dataset(arm), sender.config)
        (arm / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "another"}\n')
        assert not companions.is_settled(dataset(arm), sender.config)
        with sender.places.held():
            sender.transfer.shared([dataset(arm)])
        assert companions.is_settled(dataset(arm), sender.config)
        assert site.read("arm/meta/tasks.jsonl") == (arm / "meta/tasks.jsonl").read_bytes()

    def test_a_dataset_with_an_episode_missing_is_not_whole(self, sender: Sender, arm: Path) -> None:
        sender.commit(arm, episodes=1)
        assert not companions.is_whole(dataset(arm), sender.config)
        sender.commit(arm)
        assert companions.is_whole(dataset(arm), sender.config)

    def test_leave_no_copies_behind(self, sender: Sender, arm: Path) -> None:
        sender.commit(arm)
        left = {path.name for path in (arm / CONTROL).iterdir()}
        assert left == {EPISODE, "episode_000001", "lock", "shared.there.json"}


class TestManifest:
    def test_of_other_settings_is_made_anew(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        (item, _) = items(arm)
        first = Sender(site, tmp_path / "state", exclude=["*.mp4"])
        with first.places.held():
            first.transfer.stage(items(arm))
        second = Sender(site, tmp_path / "state")
        assert manifest.read(item, second.config) is None
        second.commit(arm)
        assert any(entry["target"].endswith(".mp4") for entry in receipt(arm, EPISODE)["files"])

    def test_of_an_episode_that_is_there_stays(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        (item, _) = items(arm)
        Sender(site, tmp_path / "state").commit(arm)
        assert manifest.read(item, destination(site.kind, site.settings, exclude=["*.mp4"])) is not None


class TestShards:
    def test_a_full_place_is_followed_by_the_next(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        site.settings = {"path": f"{site.root}/part-{{shard}}/{{dataset}}"}
        sender = Sender(site, tmp_path / "state", max_files_per_shard=6)
        assert len(sender.commit(arm).proven) == 2
        assert {name.split("/")[0] for name in site.names()} == {"part-000", "part-001"}

    def test_what_has_a_place_keeps_it(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        """A new process counts what the manifests say."""
        site.settings = {"path": f"{site.root}/part-{{shard}}/{{dataset}}"}
        Sender(site, tmp_path / "state", max_files_per_shard=6).commit(arm, episodes=1)
        second = Sender(site, tmp_path / "state", max_files_per_shard=6)
        second.transfer._shards.count([arm])
        second.commit(arm)
        places = [receipt(arm, episode)["place"][-12:-4] for episode in (EPISODE, "episode_000001")]
        assert places == ["part-000", "part-001"]


def test_control_files_are_read_by_nobody_as_markers(arm: Path, sender: Sender) -> None:
    """`shared.there.json` and the like lie beside the episodes, and are none."""
    sender.commit(arm)
    assert read_json(arm / CONTROL / "shared.there.json")["whole"] is True


class TestOthersGoOn:
    def test_metadata_that_is_half_written_is_not_sent_and_holds_no_episode_up(
        self, sender: Sender, site: FolderSite, arm: Path, made: Path, tmp_path: Path
    ) -> None:
        """Recorders write info.json in place."""
        leg = copy(made, tmp_path / "leg")
        with sender.places.held():
            sender.transfer.stage([*items(arm), *items(leg)])
        whole = (arm / "meta/info.json").read_bytes()
        (arm / "meta/info.json").write_bytes(whole[:50])
        with sender.places.held():
            outcome = sender.transfer.commit([*items(arm), *items(leg)], [dataset(arm), dataset(leg)])
        assert len(outcome.proven) == 4
        assert artifacts(site.root / "leg") == artifacts(leg)
        assert site.read("arm/meta/info.json") is None
        (arm / "meta/info.json").write_bytes(whole)
        assert not companions.is_settled(dataset(arm), sender.config)
        with sender.places.held():
            sender.transfer.shared([dataset(arm)])
        assert site.read("arm/meta/info.json") == whole

    def test_a_name_that_can_be_no_repo_blocks_its_own_dataset(self, tmp_path: Path, arm: Path) -> None:
        pytest.importorskip("huggingface_hub")
        with HubServer(tmp_path / "hub") as hub:
            site = HubSite(hub, tmp_path, dataset="arm")
            sender = Sender(site, tmp_path / "state")
            bad = [Item("not a name!", item.root, item.output, item.episode, item.format) for item in items(arm)]
            with sender.places.held():
                outcome = sender.transfer.commit(bad, [dataset(arm)])
            assert outcome.proven == ()
            told = receipts.read_block(ControlDir.of(arm, EPISODE), "there")
            assert "not a name!" in told["message"]


class TestAFolder:
    def test_that_is_full_takes_nothing_by_halves(self, small_disk: Path, tmp_path: Path) -> None:
        """And goes on when there is room again."""
        site = FolderSite(small_disk / "site")
        destination = opened(site)
        destination.probe()
        listed = files(tmp_path / "source", {"a.mp4": b"a" * (3 << 20), "b.mp4": b"b" * (3 << 20)})
        with pytest.raises(TransientError) as raised:
            destination.stage(listed, lambda _: None)
        assert raised.value.code == "destination_full"
        assert list(site.root.rglob("*.part")) == []
        destination.commit(listed[:1], "a batch")
        assert destination.verify(listed[:1]) == {}

    def test_that_may_not_be_written_is_tried_again_once_it_may(
        self, site: FolderSite, arm: Path, sender: Sender, read_only: Callable[[Path], None]
    ) -> None:
        (site.root / ".episoded").mkdir()
        read_only(site.root)
        with pytest.raises(BlockedError) as raised:
            sender.commit(arm)
        assert (raised.value.code, "write there" in raised.value.hint) == ("folder_refuses", True)
        subprocess.run(["mount", "-o", "remount,rw,bind", str(site.root)], check=True)
        sender.places.forget()
        assert len(sender.commit(arm).proven) == 2

    def test_forgets_what_was_staged_and_never_wanted(self, site: FolderSite, tmp_path: Path) -> None:
        destination = opened(site)
        destination.probe()
        destination.stage(files(tmp_path / "source", {"a.mp4": b"a", "b.mp4": b"b"}), lambda _: None)
        old, new = sorted((site.root / ".episoded/staged").iterdir())
        os.utime(old, (0, 0))
        destination.probe()
        assert list((site.root / ".episoded/staged").iterdir()) == [new]
