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
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from episoded.processors.formats.lerobot_info import INFO, read_object
from episoded.processors.lerobot.convert.examine import Examined, Source, examine, sources_of
from episoded.processors.lerobot.convert.make import make
from episoded.processors.lerobot.convert.meta import meta_files
from episoded.processors.lerobot.convert.plan import MIB, Product, Sizes, changes_of_encoding, products
from episoded.processors.lerobot.dataset import read_dataset
from episoded.processors.lerobot.v30_layout import DATA_FILE_MB, V30, VIDEO_FILE_MB

from .. import checkpoint, fsio
from ..control import CONTROL
from ..errors import Cancelled, EpisodedError, InputError, UsageError
from .records import FileRecord, Records
from .sidecars import carry_along

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from episoded.processors.lerobot.dataset import Dataset, EpisodeEntry

VERSIONS: Final = ("v2.1", "v3.0")
_ELSEWHERE: Final = "name another folder with --output, or move this one away"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is said on the way: `progress(what, done, total)` of "examine" (frames) and "write" (files).

    `stop()`: whether to give up; what is finished is kept.
    """

    progress: Callable[[str, int, int], None] = lambda *_: None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Result:
    """What a pass has come to. `left`: (episode, why) of those that could not be converted yet.

    `made` and `kept`: files of rows and video. `encoded`: episodes of a camera that had to be encoded anew.
    """

    source: str
    output: str
    from_version: str
    to_version: str
    episodes: int = 0
    frames: int = 0
    examined: int = 0
    made: int = 0
    kept: int = 0
    encoded: int = 0
    carried: int = 0
    bytes: int = 0
    seconds: float = 0.0
    left: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert(
    root: Path,
    output: Path,
    version: str,
    *,
    hooks: Hooks = Hooks(),
    ready: Callable[[int], bool] | None = None,
    sizes: Sizes | None = None,
    threads: int = 1,
) -> Result:
    """Bring the dataset at `output` up to date with the one at `root`, in `version` ("v2.1" or "v3.0").

    Episodes are taken in order up to the first that is not finished, or of which `ready(index)` is false. Raises
    InputError for a source that cannot be converted, UsageError (`same_version`, `output_taken`, `output_recorded_on`)
    and NotAvailableError (`conversion_busy`).
    """
    started = time.monotonic()
    dataset = read_dataset(root)
    if dataset.version_name == version:
        raise UsageError("same_version", f"{root} is {version} already", "there is nothing to convert")
    records = Records(output)
    _check_place(root, records)
    with records.locked():
        _introduce(records, root, dataset.version_name, version)
        result = Result(str(root), str(output), dataset.version_name, version)
        _Pass(dataset, version, records, hooks, sizes or _sizes(records), threads, result).run(ready)
    result.seconds = round(time.monotonic() - started, 3)
    return result


class _Pass:
    def __init__(
        self,
        dataset: Dataset,
        version: str,
        records: Records,
        hooks: Hooks,
        sizes: Sizes,
        threads: int,
        result: Result,
    ) -> None:
        self.dataset, self.records, self.hooks, self.sizes = dataset, records, hooks, sizes
        self.threads, self.result = threads, result
        self.source = Source(dataset, version, _picture_statistics(dataset))

    def run(self, ready: Callable[[int], bool] | None) -> None:
        entries = self._finished(ready)
        if len(entries) < (before := self.records.extent()):
            left = "; ".join(f"{name}: {why}" for name, why in self.result.left) or "they are gone"
            raise UsageError(
                "source_shrunk",
                f"{self.records.output} holds {before} episodes, only {len(entries)} can be converted now ({left})",
                "finish those of the source first, or convert into another folder",
            )
        episodes = self._examine(entries)
        if not episodes:
            return
        _check_sizes(self.dataset.root, episodes, self.source.cameras)
        self.scratch = self.records.scratch()
        made = products(self.source.version, episodes, self.source.cameras, self.sizes)
        self._make_all(made, {one.index: one for one in episodes})
        self._remove_outdated(made)
        self.result.carried = carry_along(self.dataset.root, self.records, self._tick)
        self.records.write("extent.json", {"episodes": len(episodes)})
        self._write_meta(made, len(episodes))
        fsio.remove_tree(self.scratch)
        self._conclude(made, episodes)

    def _finished(self, ready: Callable[[int], bool] | None) -> list[EpisodeEntry]:
        """The episodes from 0 on that can be converted; the first that cannot is `left`, and so are those after it.

        In both versions LeRobot counts on indices without a gap.
        """
        entries = {entry.index: entry for entry in self.dataset.episodes}
        found: list[EpisodeEntry] = []
        for index in range(max(entries, default=-1) + 1):
            why = self._why_not(entries.get(index), index, ready)
            if why:
                after = sum(other > index for other in entries)
                self.result.left.append((f"episode_{index:06d}", why))
                if after:
                    self.result.left.append((f"{after} more", f"they come after episode_{index:06d}"))
                break
            found.append(entries[index])
        return found

    def _why_not(self, entry: EpisodeEntry | None, index: int, ready: Callable[[int], bool] | None) -> str:
        if entry is None:
            return "is not in the metadata: LeRobot wants the indices without a gap; `episoded repair` closes it"
        if ready is not None and not ready(index):
            return "is not ready yet"
        root = self.dataset.root
        if not (root / entry.table).is_file():
            return f"its table {entry.table} is missing"
        for key in self.source.cameras:
            span = entry.videos.get(key)
            if span is None or not (root / span.file).is_file():
                return f"{key} has no video yet: `episoded process` makes it from the frames"
        return ""

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

    def _write_meta(self, made: list[Product], count: int) -> None:
        episodes = self.records.episodes(count)
        for target, write in meta_files(self.source, made, episodes, self.records.output):
            path, there = self.scratch / "meta", self.records.output / target
            write(path)
            if not there.is_file() or checkpoint.sha256(there) != checkpoint.sha256(path):
                fsio.make_dirs(there.parent, below=self.records.output)
                fsio.replace_file(path, there)

    def _conclude(self, made: list[Product], episodes: list[Examined]) -> None:
        """Read the result as anybody would, and count."""
        found = read_dataset(self.records.output)
        lengths = [(entry.index, entry.length) for entry in found.episodes]
        if lengths != [(one.index, one.length) for one in episodes]:
            raise EpisodedError(
                "conversion_wrong", f"{self.records.output} does not read back as what was converted", "report this"
            )
        result = self.result
        result.episodes, result.frames = len(episodes), sum(one.length for one in episodes)
        result.bytes = sum((self.records.output / product.target).stat().st_size for product in made)
        if self.source.version == V30:
            result.notes += _notes_on_encoding(episodes, self.source.cameras)


def _check_sizes(root: Path, episodes: list[Examined], cameras: list[str]) -> None:
    """Raise InputError (`mixed_size`) where a camera's pictures change their size: no loader can batch them."""
    for key in cameras:
        first = episodes[0].parts[key]
        for one in episodes:
            part = one.parts[key]
            if part.kind.rpartition(" ")[2] != first.kind.rpartition(" ")[2]:
                raise InputError(
                    "mixed_size",
                    f"{root / part.path} is {part.kind}, while the camera's first video is {first.kind}",
                    "keep the episodes of one size in one dataset; LeRobot's own tools split one",
                )


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


def _notes_on_encoding(episodes: list[Examined], cameras: list[str]) -> Iterator[str]:
    for key in cameras:
        kinds = dict.fromkeys(one.parts[key].kind for one in episodes)
        if len(kinds) > 1:
            yield f"{key}: its videos are {' and '.join(kinds)}; each kind has files of its own"
    for key, index in changes_of_encoding(episodes, cameras):
        yield f"{key}: encoded unlike the episode before from episode_{index:06d} on: a new file begins there"


def _picture_statistics(dataset: Dataset) -> dict[int, dict[str, Any]]:
    """The statistics of pictures, as the dataset has them: a kilobyte for each camera of an episode."""
    keys = [feature.key for feature in dataset.features.values() if feature.is_picture]
    return {
        index: {key: stats[key] for key in keys if isinstance(stats.get(key), dict)}
        for index, stats in dataset.episode_stats(problems=[])
    }


def _sizes(records: Records) -> Sizes:
    """As the result has them, or v3.0's own."""
    try:
        info = read_object(records.output / INFO)
    except (FileNotFoundError, EpisodedError):
        info = {}
    given = (info.get("data_files_size_in_mb"), info.get("video_files_size_in_mb"))
    data, video = (value if isinstance(value, int) and value > 0 else None for value in given)
    return Sizes((data or DATA_FILE_MB) * MIB, (video or VIDEO_FILE_MB) * MIB)


def _check_place(root: Path, records: Records) -> None:
    """A folder with anything else in it is left alone."""
    output = records.output
    if output.is_relative_to(root) or root.is_relative_to(output):
        raise UsageError("output_inside", f"{output} and {root} lie inside one another", "name a folder outside")
    if records.source() is None and output.exists():
        strangers = sorted(path.name for path in output.iterdir() if path.name != CONTROL)
        if strangers:
            what = f"{output} is there already, and is no conversion of {root}: it holds {strangers[0]}"
            raise UsageError("output_taken", what, _ELSEWHERE)


def _introduce(records: Records, root: Path, before: str, version: str) -> None:
    """Say what is converted here, or find that it is this."""
    known = records.source()
    if known is not None:
        another = known.get("source") != str(root) and _is_dataset(known.get("source"))
        if another or known.get("to") != version:
            what = f"{records.output} is a conversion of {known.get('source')} to {known.get('to')}"
            raise UsageError("output_taken", what, _ELSEWHERE)
        _check_not_recorded_on(records)
    records.write("source.json", {"source": str(root), "from": before, "to": version})


def _is_dataset(path: object) -> bool:
    return isinstance(path, str) and (Path(path) / INFO).is_file()


def _check_not_recorded_on(records: Records) -> None:
    """Episodes that were recorded into the result are in no source: they must not be lost."""
    try:
        total = read_object(records.output / INFO).get("total_episodes")
    except FileNotFoundError:
        return
    except InputError:
        return
    if isinstance(total, int) and total > records.extent():
        what = f"{records.output} has {total} episodes, {records.extent()} were converted: it was recorded on"
        raise UsageError("output_recorded_on", what, "convert into another folder, and merge with LeRobot's own tools")
