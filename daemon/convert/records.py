"""What is known of a conversion, as small files beside its result.

<result>/.episoded/convert/
lock                  flock-ed by the process at work
source.json           what is converted, into which version
concluded.json        since when the last pass that came to its end was at work
extent.json           how many episodes the metadata speaks of, written before it does
episodes/000000.json  one episode, examined
files/NAME.json       one file that was made, and of what
making/               private scratch
aside/                what lay in the way and is not ours: kept
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from episoded.processors.lerobot.convert.examine import Examined

from .. import fsio
from ..control import CONTROL, SCHEMA, read_json, to_json
from ..errors import NotAvailableError
from .place import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file that was made. `recipe`: a digest of what of; `encoded`: its episodes that were encoded anew."""

    recipe: str
    size: int
    mtime_ns: int
    sha256: str
    encoded: int


class Records:
    """The records below the result at `output`."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / FOLDER

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the result for this process. Raises NotAvailableError (`conversion_busy`).

        What turns out to be refused before a single episode was looked at leaves nothing behind.
        """
        stood = next(folder for folder in (self.folder, *self.folder.parents) if folder.is_dir())
        fsio.make_dirs(self.folder, below=self.output.parent)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.path.lexists(self.folder / "lock")
            except BlockingIOError:
                held = False
            if not held or not os.path.samestat(os.fstat(fd), (self.folder / "lock").stat()):
                what = f"another process is converting into {self.output}"
                raise NotAvailableError("conversion_busy", what, "try again when it is done")
            for folder in (self.folder, self.folder / "episodes", self.folder / "files"):
                fsio.make_dirs(folder, below=self.output)
                fsio.sweep_temps(folder)
            try:
                yield
            finally:
                if not self._hold_anything():
                    fsio.remove_tree(self.folder)
                    fsio.remove_empty_dirs(self.folder.parent, stood)
        finally:
            os.close(fd)

    def _hold_anything(self) -> bool:
        """Whether an episode was looked at, or anything made."""
        known = ("episodes/*.json", "files/*.json", "extent.json", "aside", "making")
        beside = any(path.name != CONTROL for path in self.output.iterdir())
        return beside or any(True for pattern in known for _ in self.folder.glob(pattern))

    def scratch(self) -> Path:
        """The private folder, empty."""
        path = self.folder / "making"
        fsio.remove_tree(path)
        fsio.make_dirs(path, below=self.output)
        return path

    def source(self) -> dict[str, Any] | None:
        """What is converted here, None for a folder that is none of ours yet."""
        return read_json(self.folder / "source.json")

    def extent(self) -> int:
        """How many episodes the metadata has been made for."""
        return int((read_json(self.folder / "extent.json") or {}).get("episodes", 0))

    def settled(self) -> str:
        """A digest of what the metadata was last written for, when all of it was."""
        return str((read_json(self.folder / "settled.json") or {}).get("for", ""))

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Record a fact, in place of what was said of it before."""
        path = self.folder / name
        fsio.replace(path, to_json({"schema": SCHEMA, **value}), expected=fsio.read_or_none(path))

    def episode(self, index: int) -> Examined | None:
        """What was found of an episode, None when it was not looked at yet, or by another version of this program."""
        content = fsio.read_or_none(self._episode(index))
        if content is None:
            return None
        try:
            return Examined.model_validate_json(content)
        except ValueError:
            return None

    def write_episode(self, examined: Examined) -> None:
        """Record what was found of an episode."""
        path = self._episode(examined.index)
        fsio.replace(path, examined.model_dump_json().encode(), expected=fsio.read_or_none(path))

    def episodes(self, count: int) -> Iterable[Examined]:
        """The first so many episodes, read one at a time, as often as they are gone through."""
        return _Episodes(self, count)

    def file(self, target: PurePosixPath) -> FileRecord | None:
        """What was recorded of a file."""
        value = read_json(self._file(target))
        if value is None:
            return None
        value.pop("schema", None)
        value.pop("target", None)
        return FileRecord(**value)

    def write_file(self, target: PurePosixPath, record: FileRecord) -> None:
        """Record a file that lies at its place."""
        fields = {name: getattr(record, name) for name in record.__slots__}
        self.write(f"files/{self._file(target).name}", {"target": str(target), **fields})

    def recorded_targets(self) -> list[str]:
        """The paths of all files on record."""
        return [json.loads(path.read_bytes())["target"] for path in sorted((self.folder / "files").glob("*.json"))]

    def forget_file(self, target: PurePosixPath) -> None:
        """Take a file off the record."""
        fsio.remove(self._file(target))

    def _episode(self, index: int) -> Path:
        return self.folder / "episodes" / f"{index:06d}.json"

    def _file(self, target: PurePosixPath) -> Path:
        return self.folder / "files" / (str(target).replace("/", "__") + ".json")


@dataclass(frozen=True, slots=True)
class _Episodes:
    records: Records
    count: int

    def __iter__(self) -> Iterator[Examined]:
        for index in range(self.count):
            found = self.records.episode(index)
            assert found is not None, "examined before its metadata is written"
            yield found
