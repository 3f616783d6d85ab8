"""Drop folders -> datasets -> episodes with their state. Reads names only, writes nothing, keeps nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from episoded.processors import formats

from .attempts import is_waiting
from .claim import Leases
from .control import CONTROL, REPAIRING, ControlDir
from .convert.place import is_conversion
from .errors import EpisodedError, NotAvailableError
from .state import Markers, State, read_names, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from episoded.processors.formats.base import Format, Listing

    from .config import DropConfig

#: How deep below a drop folder a dataset may lie: `dataset` or `owner/dataset`.
MAX_DEPTH: Final = 2


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """One episode as its names show it.

    `marked`: the uploader's marker lies in a dataset that has another output. `visited`: it has a control directory.
    """

    id: str
    control: ControlDir
    markers: Markers
    state: State
    marked: bool = False
    visited: bool = False

    @property
    def lapsed(self) -> int:
        """The generation whose owner this scan took for dead although it said nothing; 0 when there is none."""
        dead = self.state is State.PENDING and self.markers.outcome is None
        return self.markers.generation if dead else 0


@dataclass(frozen=True, slots=True)
class DatasetView:
    """One dataset and its episodes. `marked`: the uploader's marker for the whole dataset is there."""

    root: Path
    output: Path
    drop: DropConfig
    format: Format
    listing: Listing
    marked: bool
    episodes: tuple[EpisodeView, ...]

    @property
    def finished(self) -> bool:
        """True when no episode of it is left to process."""
        return all(episode.markers.final for episode in self.episodes)


@dataclass(frozen=True, slots=True)
class DropView:
    """One drop folder. `error`: why it could not be read. `strangers`: entries that are no dataset, and why."""

    drop: DropConfig
    datasets: tuple[DatasetView, ...] = ()
    strangers: tuple[tuple[Path, str], ...] = ()
    error: str | None = None


@dataclass
class Scanner:
    """Derives the state of everything below the drop folders.

    Keeps the leases of foreign claims, whose life is seen only by looking twice.
    """

    drops: tuple[DropConfig, ...]
    leases: Leases = field(default_factory=Leases)

    def scan(self) -> list[DropView]:
        """Every drop folder, now."""
        return [self.scan_drop(drop) for drop in self.drops]

    def scan_drop(self, drop: DropConfig) -> DropView:
        """One drop folder; one that cannot be read is an error of its own and costs the others nothing."""
        datasets: list[DatasetView] = []
        strangers: list[tuple[Path, str]] = []
        try:
            found = list(_datasets_below(drop.path, videos=drop.takes_videos))
        except OSError as error:
            return DropView(drop, error=f"{drop.path}: {error.strerror}")
        for path, stranger in found:
            if stranger:
                strangers.append((path, stranger))
                continue
            try:
                view = self.scan_dataset(drop, path)
            except OSError as error:
                strangers.append((path, f"cannot be read: {error.strerror} ({error.filename})"))
            except Exception as error:  # a bug that one dataset brings to light must not stop the others
                _report_bug(path)
                strangers.append((path, f"cannot be understood: {type(error).__name__}: {error}"))
            else:
                datasets += [view] if view else []
        return DropView(drop, tuple(datasets), tuple(strangers))

    def scan_dataset(self, drop: DropConfig, root: Path) -> DatasetView | None:
        """One dataset; None when there is none (any more) at `root`."""
        layout = formats.detect(root)
        if layout is None:
            return None
        output = output_root(drop, root, layout)
        listing = _listing(drop, root, layout)
        known = _names_in(output / CONTROL)
        if REPAIRING in known:
            listing = replace(listing, refusal=_being_repaired(output))
        received = known if output == root else _names_in(root / CONTROL)
        ids = () if listing.refusal else listing.episodes
        episodes = tuple(
            self._episode(
                output,
                name,
                visited=name in known or name in received,
                marked=output != root and name in received and (root / CONTROL / name / "pending").exists(),
            )
            for name in ids
        )
        marked = "pending" in known or "pending" in received
        return DatasetView(root, output, drop, layout, listing, marked, episodes)

    def _episode(self, output: Path, name: str, *, visited: bool, marked: bool) -> EpisodeView:
        control = ControlDir.of(output, name)
        markers = control.markers() if visited else read_names(())
        state = state_of(
            markers,
            alive=lambda generation: self.leases.alive(control.claim(generation)),
            waiting=lambda generation: is_waiting(control, generation),
        )
        return EpisodeView(name, control, markers, state, marked, visited)


def _being_repaired(output: Path) -> NotAvailableError:
    return NotAvailableError(
        "being_repaired",
        f"{output} is being repaired: nothing is processed meanwhile",
        "if no repair is running, one died in the middle: `episoded repair` goes on with it",
    )


def _report_bug(dataset: Path) -> None:
    """Log the exception in hand, with its traceback."""
    import structlog  # not at the top: a quarter of what `episoded status` costs

    from . import logs

    if not structlog.is_configured():
        logs.configure()  # its stdout is for the answer of whoever asked
    structlog.get_logger().exception("scan_failed", dataset=str(dataset))


def output_root(drop: DropConfig, root: Path, layout: Format) -> Path:
    """Where the artifacts of a dataset go: into it, or below the drop folder's `output`, where its layout says.

    Those of a video by itself, which is a file, go beside it.
    """
    top = drop.output or (drop.path if root.is_file() else None)
    return layout.output(top, root.relative_to(drop.path)) if top else root


def _listing(drop: DropConfig, root: Path, layout: Format) -> Listing:
    listing = layout.listing(root)
    if listing.refusal or drop.output or layout.in_place:
        return listing
    refusal = EpisodedError(
        "no_output",
        f"{root}: {layout.name} episodes are never written to, and there is no folder for what is made of them",
        "set `output` for this drop folder, or name it with --output",
    )
    return replace(listing, refusal=refusal)


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - see ControlDir.markers
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _datasets_below(folder: Path, depth: int = 1, *, videos: bool = False) -> Iterator[tuple[Path, str]]:
    """(path, "") for each dataset, (path, reason) for each entry that holds none. `videos`: files may be some."""
    with os.scandir(folder) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    for child in children:
        path = Path(child.path)
        if formats.is_ignored(child.name):
            continue
        if not _is_text(child.name):
            yield path, "its name is no UTF-8, which the libraries that read tables and videos need: rename it"
        elif child.is_symlink():
            yield path, "a symlink: not followed, it may leave the drop folder or lead to a dataset twice"
        elif child.is_dir():
            try:
                yield from _datasets_at(path, depth, videos=videos)
            except OSError as error:
                yield path, f"cannot be read: {error.strerror}"
        elif formats.is_video(child.name):
            yield path, "" if videos else "a video by itself, and no stage of the pipeline here is for those: depth is"


def _datasets_at(path: Path, depth: int, *, videos: bool) -> list[tuple[Path, str]]:
    if is_conversion(path):
        return []
    if formats.detect(path):
        return [(path, "")]
    if depth < MAX_DEPTH and _any_dataset(inner := list(_datasets_below(path, depth + 1, videos=videos))):
        return inner
    return [(path, "not a dataset (yet): no meta/info.json, no DROID episodes")]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _any_dataset(found: list[tuple[Path, str]]) -> bool:
    return any(not reason for _, reason in found)
