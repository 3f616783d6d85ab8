"""Every layout on its way to the Hub: its episodes, what they share, its tag, its folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from episoded.daemon import checkpoint
from episoded.daemon.chain import Work, work_on
from episoded.daemon.config import Pipeline
from episoded.daemon.publisher.jobs import Dataset
from episoded.daemon.publisher.manifest import Item
from episoded.processors import formats
from episoded.processors.simulation_v3 import record
from hub_server import HubServer
from publishing import Sender
from sites import HubSite, without_xet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    without_xet(monkeypatch, tmp_path, wanted=True)
    with HubServer(tmp_path / "hub") as server:
        yield server


def digests(root: Path, names: set[str]) -> dict[str, str]:
    return {name: checkpoint.sha256(root / name) for name in names}


def test_a_v30_dataset_is_whole_there_and_has_its_tag(hub: HubServer, tmp_path: Path) -> None:
    """Its tables and metadata are shared by all episodes: none of them has them in its receipt."""
    root = tmp_path / "arm"
    record(root, episodes=2, frames=5, size=(48, 64), end="finalized")
    layout = formats.by_name("lerobot-v3")
    pipeline = Pipeline.model_validate({"name": "test"})
    for episode in layout.listing(root).episodes:
        assert work_on(Work(root, root, episode, layout.name, pipeline)) == "ready"
    dataset = Dataset("arm", root, root, layout.name)
    items = [Item("arm", root, root, episode, layout.name) for episode in layout.listing(root).episodes]
    sender = Sender(site := HubSite(hub, tmp_path, dataset="arm"), tmp_path / "state")
    with sender.places.held():
        assert len(sender.transfer.commit(items, [dataset]).proven) == 2
    repository = hub.repositories[site.repo]
    assert repository.tags == {"v3.0": repository.head}
    needed = {
        str(path.relative_to(root))
        for folder in ("data", "meta", "videos")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    assert needed <= site.names()
    for name, digest in digests(root, needed).items():
        assert repository.files[name].sha256 in (digest, None), name
        if repository.files[name].sha256 is None:
            assert site.read(name) == (root / name).read_bytes()


def test_droid_episodes_lie_by_uuid_in_chunks(hub: HubServer, tmp_path: Path) -> None:
    droid = pytest.importorskip("droid_data")
    root, out = droid.tree(tmp_path / "raw", episodes=2), tmp_path / "out"
    finished = droid.finish(root, out)
    dataset = Dataset("raw", root, out, "droid")
    items = [Item("raw", root, out, uuid, "droid") for uuid in finished]
    site = HubSite(hub, tmp_path, repo="me/droid-{shard}")
    sender = Sender(site, tmp_path / "state", folder="chunk-{chunk}", include=["*.npz", "*.json"])
    with sender.places.held():
        assert len(sender.transfer.commit(items, [dataset]).proven) == 2
    names = set(hub.repositories["me/droid-000"].files)
    for uuid in finished:
        there = {name for name in names if name.startswith(f"chunk-000/{uuid}/")}
        assert {f"chunk-000/{uuid}/{name}" for name in ("tracks.npz", "extrinsics.npz", "quality.json")} <= there
