"""A place has one writer at a time; where nothing can see to that, several do no harm."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest

from episoded.daemon import locks
from episoded.daemon.control import read_json
from episoded.daemon.publisher.manifest import path_of
from episoded.processors.destinations.errors import TransientError
from hub_server import HubServer
from moto_server import moto_server  # noqa: F401 - a fixture
from publishing import Sender, artifacts, items, ready
from recordings import copy
from sites import FolderSite, HubSite, RsyncSite, S3Site, without_xet
from sshd import sshd  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Actor
    from sites import Site


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready(tmp_path_factory.mktemp("made") / "arm")


@pytest.fixture
def arm(made: Path, tmp_path: Path) -> Path:
    return copy(made, tmp_path / "arm")


@pytest.fixture
def leg(tmp_path: Path) -> Path:
    """Another one."""
    return ready(tmp_path / "leg", seed=1)


@pytest.fixture
def other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers of this test share no machine, as far as they know."""
    monkeypatch.setattr(locks, "first_on_this_machine", lambda _: None)


class TestOneAtATime:
    @pytest.fixture
    def site(self, tmp_path: Path) -> FolderSite:
        return FolderSite(tmp_path / "site")

    def assert_excluded(self, site: FolderSite, first: Sender, second: Sender, arm: Path) -> None:
        with first.places.held():
            first.places.at(str(site.root))
            with pytest.raises(TransientError) as raised:
                second.commit(arm)
            assert (raised.value.code, raised.value.after_s) == ("busy", 5.0)
        assert len(second.commit(arm).proven) == 2

    def test_of_one_state_directory(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        self.assert_excluded(site, *(Sender(site, tmp_path / "state") for _ in range(2)), arm)

    def test_of_one_machine(self, tmp_path: Path, arm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two services, each with a state directory of its own; the folder itself knows no locks."""
        site = FolderSite(tmp_path / "site")
        monkeypatch.setattr("episoded.processors.destinations.folder.Folder.hold", lambda _: True)
        self.assert_excluded(site, Sender(site, tmp_path / "one"), Sender(site, tmp_path / "two"), arm)

    @pytest.mark.usefixtures("other_machines")
    def test_of_two_machines_where_the_folder_can_tell(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        self.assert_excluded(site, Sender(site, tmp_path / "one"), Sender(site, tmp_path / "two"), arm)

    def test_by_whatever_path_a_folder_is_reached(self, site: FolderSite, tmp_path: Path, arm: Path) -> None:
        (tmp_path / "link").symlink_to(site.root)
        linked = FolderSite.__new__(FolderSite)
        linked.root, linked.place = tmp_path / "link", str(tmp_path / "link")
        linked.settings = {"path": linked.place}
        self.assert_excluded(site, Sender(site, tmp_path / "one"), Sender(linked, tmp_path / "two"), arm)

    def test_a_killed_writer_keeps_nobody_out(self, actor: Callable[..., Actor]) -> None:
        name = uuid.uuid4().hex
        owner = actor("writer", name)
        assert owner.heard() == "mine"
        with pytest.raises(BlockingIOError):
            locks.first_on_this_machine(name)
        owner.kill()
        mine = locks.first_on_this_machine(name)
        assert mine
        mine.close()


@pytest.fixture
def shared_site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """One place for all datasets."""
    match request.param:
        case "folder":
            yield FolderSite(tmp_path / "folder")
        case "rsync":
            yield RsyncSite(request.getfixturevalue("sshd"), tmp_path / "folder")
        case "s3":
            site = S3Site(request.getfixturevalue("moto_server"), f"bucket-{uuid.uuid4().hex}")
            site.place = site.settings["url"] = f"s3://{site.bucket}/robots"
            yield site
        case _:
            without_xet(monkeypatch, tmp_path, wanted=True)
            with HubServer(tmp_path / "hub") as hub:
                yield HubSite(hub, tmp_path, repo="me/robots")


def listed(root: Path) -> dict[str, str]:
    """target -> path below the dataset, of everything that was to be published of its episodes."""
    manifests = [read_json(path_of(item.control, "there")) for item in items(root)]
    return {
        f"{manifest['folder']}/{entry['path']}": entry["path"]
        for manifest in manifests
        if manifest
        for entry in manifest["files"]
    }


class TestTwoMachines:
    """Nothing but the destination joins them."""

    @pytest.fixture
    def at_once(self, actor: Callable[..., Actor], tmp_path: Path) -> Callable[..., None]:
        """Publishes each dataset from a machine of its own, all at the same time."""

        def publish(site: Site, *roots: Path) -> None:
            machines = [
                actor("publish_alone", site.kind, json.dumps(site.settings), root, tmp_path / f"state{number}")
                for number, root in enumerate(roots)
            ]
            assert [machine.heard() for machine in machines] == ["begun"] * len(roots)
            for machine in machines:
                machine.go()
            for machine in machines:
                assert {"internal", "given up"}.isdisjoint(machine.rest())

        return publish

    @pytest.mark.parametrize("shared_site", ["folder", "hub", "s3"], indirect=True)
    def test_with_a_dataset_each_both_finish(
        self, shared_site: Site, arm: Path, leg: Path, at_once: Callable[..., None]
    ) -> None:
        at_once(shared_site, arm, leg)
        for root in (arm, leg):
            for target, path in listed(root).items():
                assert shared_site.read(target) == (root / path).read_bytes(), target
            for path in artifacts(root):
                assert shared_site.read(f"{root.name}/{path}") == (root / path).read_bytes(), path
        if isinstance(shared_site, HubSite):
            wanted = sorted([*listed(arm), *listed(leg)])
            commits = shared_site.hub.repositories[shared_site.repo].commits
            assert sorted(path for commit in commits for path in commit.added if path in wanted) == wanted
            assert [count for count in shared_site.hub.puts().values() if count > 1] == []

    @pytest.mark.parametrize("shared_site", ["folder", "hub", "rsync", "s3"], indirect=True)
    def test_with_the_same_dataset_both_finish(
        self, shared_site: Site, tmp_path: Path, made: Path, at_once: Callable[..., None]
    ) -> None:
        """Each has a copy of it."""
        roots = [copy(made, tmp_path / machine / "arm") for machine in ("one", "two")]
        at_once(shared_site, *roots)
        for target, path in listed(roots[0]).items():
            assert shared_site.read(target) == (roots[0] / path).read_bytes(), target
