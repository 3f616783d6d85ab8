"""One pass of a conversion: what is new is examined, the files it belongs to are made, then the metadata.

The order of durable steps is what makes a SIGKILL at any point harmless: a file is made in private scratch, read back,
moved to its name, recorded. Metadata comes after every file that it speaks of, info.json last: until then the result
is no dataset yet, or still the one with fewer episodes. The source is only ever read.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from episoded.processors.formats.lerobot_info import INFO
from episoded.processors.lerobot.convert.depth_cameras import with_depth_cameras
from episoded.processors.lerobot.convert.examine import Examined, Source, examine, sources_of
from episoded.processors.lerobot.convert.make import make
from episoded.processors.lerobot.convert.meta import meta_files
from episoded.processors.lerobot.convert.plan import Product, Sizes, changes_of_encoding, products
from episoded.processors.lerobot.findings import Severity
from episoded.processors.lerobot.inspect import inspect_dataset
from episoded.processors.lerobot.reading import read_dataset, read_episode_stats
from episoded.processors.lerobot.v30.layout import V30

from .. import checkpoint, fsio
from ..control import is_being_repaired
from ..errors import Cancelled, EpisodedError, NotAvailableError, UsageError
from .admission import check_extent, check_place, check_sizes, introduce, sizes_of
from .finished import finished_episodes
from .records import FileRecord, Records
from .result import UNWATCHED, Hooks, Result
from .sidecars import carry_along

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from episoded.processors.lerobot.dataset import Dataset, EpisodeEntry

VERSIONS: Final = ("v2.1", "v3.0")


def convert(
    root: Path,
    output: Path,
    version: str,
    *,
    hooks: Hooks = UNWATCHED,
    ready: Callable[[int], bool] | None = None,
    sizes: Sizes | None = None,
    threads: int = 1,
    inspect_all: bool = False,
    depth: bool = True,
) -> Result:
    """Bring the dataset at `output` up to date with the one at `root`, in `version` ("v2.1" or "v3.0").

    Episodes are taken in order up to the first that is not finished, or of which `ready(index)` is false. What was made
    is inspected as `episoded verify` does it; `inspect_all`: the whole result, whatever was made. `depth`: with depth
    cameras (v3.0). Raises InputError for a source that cannot be converted, UsageError (`same_version`, `output_taken`,
    `output_inside`, `source_shrunk`, `output_recorded_on`) and NotAvailableError (`conversion_busy`, `being_repaired`).
    """
    started, since = time.monotonic(), time.time()
    dataset = read_dataset(root)
    if dataset.version_name == version:
        raise UsageError("same_version", f"{root} is {version} already", "there is nothing to convert")
    if is_being_repaired(root):
        raise NotAvailableError("being_repaired", f"{root} is being repaired", "convert it once that is done")
    records = Records(output)
    check_place(root, records)
    with records.locked():
        introduce(records, root, dataset.version_name, version)
        result = Result(str(root), str(output), dataset.version_name, version)
        sizes = sizes or sizes_of(records)
        _Pass(dataset, version, records, result, hooks, sizes, threads, inspect_all, depth).run(ready)
        if result.episodes:
            records.write("concluded.json", {"since": since})
    result.seconds = round(time.monotonic() - started, 3)
    return result


@dataclass
class _Pass:
    """One pass over a dataset; `fresh` are the files that it has made."""

    dataset: Dataset
    version: str
    records: Records
    result: Result
    hooks: Hooks
    sizes: Sizes
    threads: int
    whole: bool
    depth: bool
    fresh: set[str] = field(default_factory=set)

    @cached_property
    def source(self) -> Source:
        """The dataset, with what is known of its pictures."""
        return Source(self.dataset, self.version, _picture_statistics(self.dataset))

    @cached_property
    def scratch(self) -> Path:
        """A private folder, empty at first."""
        return self.records.scratch()

    def run(self, ready: Callable[[int], bool] | None) -> None:
        entries, self.result.left = finished_episodes(self.dataset, ready)
        check_extent(self.records, len(entries), self.result.left)
        if self.depth and self.version == V30:
            found = with_depth_cameras(self.dataset, entries)
            self.dataset, entries = found.dataset, found.entries
            self.result.notes += found.notes
        episodes = self._examine(entries)
        if not episodes:
            return
        check_sizes(self.dataset.root, episodes, self.source.cameras)
        made = products(self.source.version, episodes, self.source.cameras, self.sizes)
        self._make_all(made, {one.index: one for one in episodes})
        self._remove_outdated(made)
        self.result.carried = carry_along(self.dataset.root, self.records, self._tick)
        self.records.write("extent.json", {"episodes": len(episodes)})
        self._write_meta(made, episodes)
        fsio.remove_tree(self.scratch)
        self._conclude(made, episodes)

    def _examine(self, entries: list[EpisodeEntry]) -> list[Examined]:
        """Look at what is new or has changed since; without their statistics, which stay on disk."""
        starts, total = {}, 0
        for entry in entries:
            starts[entry.index] = total
            total += entry.length
        frames = sum(entry.length for entry in entries) * max(len(self.source.cameras), 1)
        done = 0
        found = []
        for entry in entries:
            known = self.records.episode(entry.index)
            if known is None or not self._fresh(known, entry, starts[entry.index]):
                known = examine(self.source, entry, starts[entry.index], self.threads, self._counter(done, frames))
                self.records.write_episode(known)
                self.result.examined += 1
            self.result.notes += [f"episode_{entry.index:06d}: {note}" for note in known.notes]
            done += entry.length * max(len(self.source.cameras), 1)
            self.hooks.progress("examine", done, frames)
            found.append(known.without_statistics())
        return found

    def _fresh(self, known: Examined, entry: EpisodeEntry, start: int) -> bool:
        where = (known.version, known.length, known.start, known.table, known.first_row)
        wanted = (self.source.version, entry.length, start, str(entry.table), entry.first_row)
        tasks = entry.tasks == known.tasks or not entry.tasks
        return where == wanted and tasks and known.sources == sources_of(self.source, entry)

    def _counter(self, before: int, total: int) -> Callable[[], None]:
        done = before

        def count() -> None:
            nonlocal done
            done += 1
            self._tick()
            self.hooks.progress("examine", done, total)

        return count

    def _tick(self) -> None:
        if self.hooks.stop():
            raise Cancelled

    def _make_all(self, made: list[Product], episodes: Mapping[int, Examined]) -> None:
        for number, product in enumerate(made):
            self.hooks.progress("write", number, len(made))
            recipe = _recipe(product, episodes, self.source)
            if self._is_made(product, recipe):
                self.result.kept += 1
            else:
                self._make(product, recipe, episodes)
                self.fresh.add(str(product.target))
                self.result.made += 1
        self.hooks.progress("write", len(made), len(made))

    def _is_made(self, product: Product, recipe: str) -> bool:
        record = self.records.file(product.target)
        if record is None or record.recipe != recipe:
            return False
        try:
            status = (self.records.output / product.target).stat()
        except FileNotFoundError:
            return False
        self.result.encoded += record.encoded
        return (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)

    def _make(self, product: Product, recipe: str, episodes: Mapping[int, Examined]) -> None:
        path = self.scratch / "file"
        encoded = make(product, self.source, episodes, path, self._tick)
        self.result.encoded += encoded
        digest, status = checkpoint.sha256(path), path.stat()
        self._put(path, product.target, digest)
        mtime_ns = (self.records.output / product.target).stat().st_mtime_ns
        self.records.write_file(product.target, FileRecord(recipe, status.st_size, mtime_ns, digest, encoded))

    def _put(self, path: Path, target: PurePosixPath, digest: str) -> None:
        """Give a finished file its name. What lies there is ours, by the record or by its content, or is kept aside."""
        there = self.records.output / target
        fsio.make_dirs(there.parent, below=self.records.output)
        if there.is_file():
            content = checkpoint.sha256(there)
            if content == digest:
                return
            record = self.records.file(target)
            if record is None or record.sha256 != content:
                keep = self.records.folder / "aside" / str(target).replace("/", "__")
                fsio.make_dirs(keep.parent, below=self.records.output)
                kept = fsio.set_aside(there, keep.with_name(f"{keep.name}.kept"))
                self.result.notes.append(f"{target} was there before and is not ours: kept as {kept}")
        fsio.replace_file(path, there)

    def _remove_outdated(self, made: list[Product]) -> None:
        """Remove files of ours that the plan has no place for any more: LeRobot reads whatever lies below `data/`."""
        wanted = {str(product.target) for product in made}
        for name in self.records.recorded_targets():
            if name not in wanted:
                fsio.remove(self.records.output / name)
                self.records.forget_file(PurePosixPath(name))

    def _write_meta(self, made: list[Product], episodes: list[Examined]) -> None:
        """Write what has changed; nothing when it was written for these episodes and files before."""
        contents = hashlib.sha256()
        for part in (json.dumps(self.dataset.info), str(made), str(self.source.tasks)):
            contents.update(part.encode())
        for episode in episodes:
            contents.update(episode.model_dump_json().encode())
        if self.records.settled() == contents.hexdigest() and (self.records.output / INFO).is_file():
            return
        for target, write in meta_files(self.source, made, self.records.episodes(len(episodes)), self.records.output):
            path, there = self.scratch / "meta", self.records.output / target
            write(path)
            if not there.is_file() or checkpoint.sha256(there) != checkpoint.sha256(path):
                fsio.make_dirs(there.parent, below=self.records.output)
                fsio.replace_file(path, there)
        self.records.write("settled.json", {"for": contents.hexdigest()})

    def _inspect(self, made: list[Product]) -> None:
        """Judge the result as `episoded verify` does: the episodes in files that were made in this pass, or all."""
        fresh = {index for product in made if str(product.target) in self.fresh for index in product.episodes}
        if not (fresh or self.whole):
            return
        only = None if self.whole or len(fresh) == self.records.extent() else fresh
        report = inspect_dataset(self.records.output, only=only, threads=self.threads)
        for finding in report.findings:
            words = f"{finding.message} [{finding.code}]"
            (self.result.wrong if finding.severity is Severity.ERROR else self.result.notes).append(words)

    def _conclude(self, made: list[Product], episodes: list[Examined]) -> None:
        """Read the result as anybody would, and count."""
        found = read_dataset(self.records.output)
        lengths = [(entry.index, entry.length) for entry in found.episodes]
        if lengths != [(one.index, one.length) for one in episodes]:
            raise EpisodedError(
                "conversion_wrong", f"{self.records.output} does not read back as what was converted", "report this"
            )
        result = self.result
        self._inspect(made)
        result.episodes, result.frames = len(episodes), sum(one.length for one in episodes)
        result.bytes = sum((self.records.output / product.target).stat().st_size for product in made)
        if self.source.version == V30:
            result.notes += _notes_on_encoding(episodes, self.source.cameras)


def _recipe(product: Product, episodes: Mapping[int, Examined], source: Source) -> str:
    """A digest of everything that the content of a file depends on."""
    parts: list[Any] = []
    for index in product.episodes:
        one = episodes[index]
        if product.key:
            parts.append(one.parts[product.key].model_dump())
        else:
            table = next(list(found) for found in one.sources if found[0] == one.table)
            parts.append([table, one.first_row, one.length, one.index, one.start, list(one.tasks)])
    moved = {old: new for old, new in source.numbers.items() if old != new}
    return hashlib.sha256(json.dumps([parts, moved, str(source.rate)]).encode()).hexdigest()


def _picture_statistics(dataset: Dataset) -> dict[int, dict[str, Any]]:
    """The statistics of pictures, as the dataset has them: a kilobyte for each camera of an episode."""
    keys = [feature.key for feature in dataset.features.values() if feature.is_picture]
    return {
        index: {key: stats[key] for key in keys if isinstance(stats.get(key), dict)}
        for index, stats in read_episode_stats(dataset, [])
    }


def _notes_on_encoding(episodes: list[Examined], cameras: list[str]) -> Iterator[str]:
    for key in cameras:
        kinds = dict.fromkeys(one.parts[key].kind for one in episodes)
        if len(kinds) > 1:
            yield f"{key}: its videos are {' and '.join(kinds)}; each kind has files of its own"
    for key, index in changes_of_encoding(episodes, cameras):
        yield f"{key}: encoded unlike the episode before from episode_{index:06d} on: a new file begins there"
