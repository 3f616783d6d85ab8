"""Ready datasets to publish, and what must hold of what was published."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from episoded.daemon import chain, checkpoint, config
from episoded.daemon.control import CONTROL, ControlDir, read_json
from episoded.daemon.publisher.jobs import Dataset
from episoded.daemon.publisher.manifest import Item
from episoded.daemon.publisher.places import Places
from episoded.daemon.publisher.settings import DestinationConfig
from episoded.daemon.publisher.shards import Shards
from episoded.daemon.publisher.transfer import Transfer
from recordings import tiny, work

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from episoded.daemon.scan import DatasetView
    from sites import Site


def ready(root: Path, episodes: int = 2, seed: int = 0, **settings: Any) -> Path:
    """A dataset whose episodes are ready."""
    tiny(root, episodes=episodes, seed=seed)
    for number in range(episodes):
        assert chain.work_on(work(root, f"episode_{number:06d}", **settings)) == "ready"
    return root


def items(root: Path, episodes: int = 2, name: str = "") -> list[Item]:
    return [Item(name or root.name, root, root, f"episode_{number:06d}", "lerobot") for number in range(episodes)]


def dataset(root: Path, name: str = "") -> Dataset:
    return Dataset(name or root.name, root, root, "lerobot")


def destination(kind: str, settings: Mapping[str, Any], name: str = "there", **more: Any) -> DestinationConfig:
    return DestinationConfig.model_validate({"name": name, "kind": kind, **settings, **more})


def table(name: str, kind: str, settings: Mapping[str, Any], **more: Any) -> str:
    """The destination as a table of config.toml."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"kind": kind, **settings, **more}.items()]
    return "\n".join([f"[destinations.{name}]", *lines, ""])


def receipt(root: Path, episode: str, name: str = "there") -> dict[str, Any] | None:
    return read_json(ControlDir.of(root, episode).path / f"published.{name}")


def artifacts(root: Path) -> dict[str, str]:
    """Path -> sha256 of everything in the dataset that a training job needs."""
    paths = [path for folder in ("data", "videos", "meta") for path in (root / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): checkpoint.sha256(path) for path in paths}


def names(root: Path, episode: str) -> set[str]:
    """The names in the control directory of an episode."""
    return {path.name for path in (root / CONTROL / episode).iterdir()}


def fill(disk: Path) -> Path:
    """A file that takes all the room of a (small) disk."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    return disk / "filler"


def loaded(text: str, folder: Path) -> config.Config:
    path = folder / "config.toml"
    path.write_text(text)
    return config.load(path)


def view(root: Path, settings: config.Config) -> DatasetView:
    from episoded.daemon import target

    (found,) = target.find(root, settings).view().datasets
    return found


class Sender:
    """A transfer with its places, as a process of the service has it."""

    def __init__(self, site: Site, state: Path, **more: Any) -> None:
        self.config: DestinationConfig = destination(site.kind, site.settings, **more)
        self.places = Places(self.config, state)
        self.slept: list[float] = []
        self.transfer = Transfer(self.config, self.places.at, Shards(self.config), sleep=self.slept.append)

    def commit(self, root: Path, episodes: int = 2) -> Any:
        with self.places.held():
            return self.transfer.commit(items(root, episodes), [dataset(root)])
