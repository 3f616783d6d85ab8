"""The calibrations released for DROID (huggingface.co/KarlP/droid and others) as one index, looked up by uuid.

The files are JSON objects of up to 189 MB, which nobody wants to parse for every episode. They are read once, one entry
at a time, into an SQLite file beside them. Lookups are by the exact uuid: "the same day and a similar time" has given
other episodes' calibrations to whoever tried.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import EpisodedError, InputError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INDEX: Final = "episoded-calibration.sqlite"
#: What each file holds. Those that are not there are done without.
TABLES: Final = {
    "intrinsics.json": "intrinsics",
    "cam2base_extrinsic_superset.json": "superset",
    "cam2base_extrinsics.json": "cam2base",
    "cam2cam_extrinsics.json": "cam2cam",
    "droid_wrist_extrinsics.json": "wrist",
}
_SCHEMA: Final = 1
_BATCH: Final = 2000


@dataclass(frozen=True, slots=True)
class Built:
    """What an index was made from: file name -> number of entries."""

    path: Path
    entries: dict[str, int]


def build(folder: Path, progress: Callable[[str, int, int], None] = lambda *_: None) -> Built:
    """Index the calibration files in `folder`. `progress(file, done, total)` hears about it, in characters.

    The new index takes the old one's place when it is whole. Raises EpisodedError: `no_calibration_files`, and
    InputError: `calibration_unreadable`.
    """
    found = [folder / name for name in TABLES if (folder / name).is_file()]
    if not found:
        raise EpisodedError(
            "no_calibration_files",
            f"{folder} holds none of {', '.join(TABLES)}",
            "download them from huggingface.co/KarlP/droid into this folder, then build the index again",
        )
    unfinished = folder / f".{INDEX}.{os.getpid()}"
    try:
        with closing(sqlite3.connect(unfinished)) as base, base:
            base.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                "CREATE TABLE about (file TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, entries INTEGER);"
                f"PRAGMA user_version = {_SCHEMA};"
            )
            entries = {path.name: _take_in(base, path, progress) for path in found}
        _sync(unfinished)
        unfinished.replace(folder / INDEX)
        _sync(folder)
    except OSError as error:
        raise from_os_error(error) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Built(folder / INDEX, entries)


def _take_in(base: sqlite3.Connection, path: Path, progress: Callable[[str, int, int], None]) -> int:
    table = TABLES[path.name]
    status = path.stat()
    text = path.read_text(encoding="utf-8")
    base.execute(f"CREATE TABLE {table} (uuid TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    count = 0
    batch: list[tuple[str, str]] = []
    insert = f"INSERT OR REPLACE INTO {table} VALUES (?, ?)"  # noqa: S608 - the name is one of ours
    for key, value, at in entries_of(text, path):
        batch.append((key, value))
        count += 1
        if len(batch) == _BATCH:
            base.executemany(insert, batch)
            batch.clear()
            progress(path.name, at, len(text))
    base.executemany(insert, batch)
    base.execute("INSERT INTO about VALUES (?, ?, ?, ?)", (path.name, status.st_size, status.st_mtime_ns, count))
    progress(path.name, len(text), len(text))
    return count


def entries_of(text: str, path: Path) -> Iterator[tuple[str, str, int]]:
    """(key, value as JSON text, position) of each entry of one large JSON object, without building all of it.

    Raises InputError: `calibration_unreadable`.
    """
    decoder = json.JSONDecoder()
    try:
        at = _after(text, 0, "{")
        more = text[_space(text, at)] != "}"
        while more:
            key, end = decoder.raw_decode(text, _space(text, at))
            start = _space(text, _after(text, end, ":"))
            _, at = decoder.raw_decode(text, start)
            yield str(key), text[start:at], at
            at = _space(text, at)
            more = text[at] == ","
            if not more and text[at] != "}":
                raise ValueError(f"expected , or }} at character {at}")
            at += 1
    except (ValueError, IndexError) as error:
        reason = "it ends too early" if isinstance(error, IndexError) else str(error)
        raise InputError(
            "calibration_unreadable", f"{path}: {reason}", "download this file again, then build the index again"
        ) from error


def _space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _after(text: str, at: int, sign: str) -> int:
    at = _space(text, at)
    if text[at] != sign:
        raise ValueError(f"expected {sign} at character {at}")
    return at + 1


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class CalibrationIndex:
    """An index that was built: read-only lookups by uuid."""

    def __init__(self, folder: Path) -> None:
        """Raise EpisodedError (`no_calibration_index`, `calibration_index_old`) where there is none to use."""
        self.path = folder / INDEX
        remedy = f"build it: episoded calibration index {folder}"
        if not self.path.is_file():
            raise EpisodedError("no_calibration_index", f"{folder} has no index of its calibrations", remedy)
        # immutable: another process replaces it by rename only, and network folders have no locks.
        self._base = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            version = self._base.execute("PRAGMA user_version").fetchone()[0]
            about = self._base.execute("SELECT file, size, mtime_ns FROM about").fetchall()
            self._tables = frozenset(TABLES[file] for file, _, _ in about)
        except (sqlite3.DatabaseError, KeyError) as error:
            raise EpisodedError("calibration_index_old", f"{self.path} is not readable: {error}", remedy) from error
        if version != _SCHEMA or any(_changed(folder / file, size, mtime) for file, size, mtime in about):
            raise EpisodedError("calibration_index_old", f"{self.path} is older than the files beside it", remedy)

    def look_up(self, table: str, key: str) -> Any:
        """The entry of exactly this key in one of `TABLES`, or None."""
        if table not in self._tables:
            return None
        query = f"SELECT value FROM {table} WHERE uuid = ?"  # noqa: S608 - the name is one of ours
        row = self._base.execute(query, (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


def _changed(path: Path, size: int, mtime_ns: int) -> bool:
    """Whether a source is another than the one that was indexed; one that was removed to save space is not."""
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (size, mtime_ns)
