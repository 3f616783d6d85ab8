"""PATH on a command line -> drop folder, dataset or episode. A few stats and names; never a folder of frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from episoded.processors import formats

from .config import DropConfig
from .control import CONTROL
from .errors import UnknownTargetError, UsageError
from .scan import MAX_DEPTH, DatasetView, DropView, Scanner

if TYPE_CHECKING:
    from .config import Config


@dataclass(frozen=True, slots=True)
class Target:
    """What a path stands for.

    `drop`: the drop folder that it lies in, or one made up for it (`configured` False). `root`: a dataset, or a folder
    with datasets in it. `episode`: the id of the one episode that is meant, or None: all.
    """

    root: Path
    drop: DropConfig
    configured: bool
    is_dataset: bool
    episode: str | None = None

    def __str__(self) -> str:
        return str(self.root / self.episode if self.episode else self.root)

    def view(self, scanner: Scanner | None = None) -> DropView:
        """What lies there now, and nothing else. Raises UnknownTargetError when it is gone.

        Keep the `scanner` between calls: it remembers when it last heard of claims on other machines.
        """
        scanner = scanner or Scanner((self.drop,))
        if not self.is_dataset:
            return self._folder(scanner)
        dataset = scanner.scan_dataset(self.drop, self.root)
        if dataset is None:
            raise UnknownTargetError("no_dataset", f"{self.root}: the dataset is gone", "was it moved or renamed?")
        return DropView(self.drop, (dataset if self.episode is None else _only(dataset, self.episode),))

    def _folder(self, scanner: Scanner) -> DropView:
        view = scanner.scan_drop(self.drop)
        if self.root == self.drop.path and self.configured:
            return view
        below = [dataset for dataset in view.datasets if dataset.root.is_relative_to(self.root)]
        strangers = [pair for pair in view.strangers if pair[0].is_relative_to(self.root)]
        if not below:
            why = view.error or next((f"{path.name}: {reason}" for path, reason in strangers), "nothing in it")
            raise UnknownTargetError(
                "no_dataset",
                f"{self.root}: no dataset here ({why})",
                "name a dataset: a folder with meta/info.json, or a tree of DROID episodes",
            )
        return replace(view, datasets=tuple(below), strangers=tuple(strangers))


def find(path: Path, config: Config, *, pipeline: str | None = None, output: Path | None = None) -> Target:
    """What `path` stands for: `DATASET`, `DATASET/episode_000003`, any folder or file of an episode, or a folder.

    `pipeline` and `output` override what the drop folder says. Raises UnknownTargetError for what is nothing, and
    UsageError for an override that cannot be.
    """
    place = Path(os.path.realpath(path.expanduser()))
    drop, place = _configured(place, config) or (None, place)
    root = _dataset_around(place, drop)
    if drop and root and not _found_by_scans(root, drop):
        drop = None  # too deep or hidden: no service will ever see it
    if root is None and drop and (named := _named_by_id(place, drop)):
        root, place = named
    if root is None and not place.is_dir() and (drop is None or place != drop.path):
        raise UnknownTargetError("no_such_path", f"{path}: there is no such dataset or episode", _how_to_name_one(drop))
    used = drop or DropConfig(path=root.parent if root else place, complete="rename")
    used = used.through(config.pipelines[_pipeline(pipeline or used.pipeline, config)])
    if output is not None:
        used = used.model_copy(update={"output": _output(output, root or place)})
    episode = _episode(root, place) if root and root != place else None
    return Target(root or place, used, drop is not None, root is not None, episode)


def find_episode(path: Path, config: Config, *, output: Path | None = None) -> Target:
    """Like `find`, where one episode is wanted; a dataset with a single episode will do."""
    target = find(path, config, output=output)
    if target.episode or not target.is_dataset:
        ids: list[str] = [target.episode] if target.episode else []
    else:
        ids = [episode.id for dataset in target.view().datasets for episode in dataset.episodes]
    if len(ids) == 1:
        return replace(target, episode=ids[0])
    raise UnknownTargetError(
        "not_an_episode",
        f"{target.root}: one episode is wanted",
        f"name it: {target.root}/{ids[0] if ids else 'EPISODE'}",
    )


def _configured(place: Path, config: Config) -> tuple[DropConfig, Path] | None:
    """The drop folder that `place` lies in, and the place below it; what lies below its `output` counts as well."""
    for drop in config.drops:
        for top in (drop.path, drop.output):
            if top is not None and place.is_relative_to(top.resolve()):
                return drop, drop.path / place.relative_to(top.resolve())
    return None


def _dataset_around(place: Path, drop: DropConfig | None) -> Path | None:
    """The dataset that `place` is or lies in: below a drop folder the outermost, as scans find it, else the innermost.

    A drop folder is never one itself.
    """
    folders = (*place.parents, place) if place.is_file() else (place, *place.parents)  # a video of a dataset is no drop
    if drop:
        folders = tuple(reversed([folder for folder in folders if drop.path in folder.parents]))
    return next((folder for folder in folders if formats.detect(folder)), None)


def _named_by_id(place: Path, drop: DropConfig) -> tuple[Path, Path] | None:
    """The dataset of an episode whose id alone says where it is finished, and the place of the episode in it."""
    inside = place.relative_to(drop.path)
    for dataset in Scanner((drop,)).scan_drop(drop).datasets if drop.output else ():
        if not dataset.format.in_place and set(inside.parts) & set(dataset.listing.episodes):
            return dataset.root, dataset.root / inside
    return None


def _found_by_scans(root: Path, drop: DropConfig) -> bool:
    parts = root.relative_to(drop.path).parts
    return len(parts) <= MAX_DEPTH and not any(formats.is_ignored(part) for part in parts)


def _pipeline(name: str, config: Config) -> str:
    if name not in config.pipelines:
        raise UsageError(
            "unknown_pipeline",
            f"there is no pipeline {name!r}; there are {', '.join(config.pipelines)}",
            "name one of them, or add it to the configuration as [pipelines.NAME]",
        )
    return name


def _output(output: Path, source: Path) -> Path:
    output = output.expanduser().resolve()
    if output.is_relative_to(source):
        raise UsageError(
            "output_inside", f"the output {output} lies inside {source}", "name a folder outside, or leave it out"
        )
    return output


def _episode(root: Path, place: Path) -> str:
    """The episode that a path inside a dataset belongs to."""
    layout = formats.detect(root)
    assert layout is not None
    listing = layout.listing(root)
    if listing.refusal:
        raise UnknownTargetError(listing.refusal.code, listing.refusal.message, listing.refusal.hint)
    orphans = dict(listing.orphans)
    for name in layout.names_at(root, PurePath(*[part for part in place.relative_to(root).parts if part != CONTROL])):
        if name in listing.episodes:
            return name
        if name in orphans:
            raise UnknownTargetError(
                "orphan", f"{name} of {root}: {orphans[name]}", "nothing touches it; record it again or remove it"
            )
    known = f"{listing.episodes[0]} to {listing.episodes[-1]}" if listing.episodes else "none yet"
    raise UnknownTargetError(
        "no_such_episode", f"{place.relative_to(root)}: no episode of {root}", f"its episodes: {known}"
    )


def _only(dataset: DatasetView, episode: str) -> DatasetView:
    """The dataset as if it held this episode alone."""
    chosen = tuple(view for view in dataset.episodes if view.id == episode)
    if not chosen and (refusal := dataset.listing.refusal):
        raise UnknownTargetError(refusal.code, refusal.message, refusal.hint)
    if not chosen:
        raise UnknownTargetError(
            "no_such_episode", f"{episode} is no longer listed in {dataset.root}", "was the dataset replaced?"
        )
    return replace(dataset, episodes=chosen, listing=replace(dataset.listing, orphans=()))


def _how_to_name_one(drop: DropConfig | None) -> str:
    where = f"{drop.path}/DATASET" if drop else "DATASET"
    return f"name a drop folder, {where} or {where}/episode_000003; `episoded status` lists what is known"
