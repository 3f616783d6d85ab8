"""Events that wake the scan. They carry no data and are never trusted: the rescan is the guarantee.

What an observer does not say, each seen on a real kernel: after a queue overflow the events are gone without a word to
the handler; below the root a reached watch limit is swallowed; when the root is deleted and made again the emitter
thread ends while `observer.is_alive()` stays true; an exception in a handler kills the dispatch thread. So the health
of observer and emitters is checked at every tick, and what is dead is built anew.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchdog.observers.api import BaseObserver

log = structlog.get_logger()

#: Filesystems whose writes from other hosts, or below a lower layer, raise no event here.
DEAF: Final = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs")
#: Names that come, go or change, and files written to their end. Not what is opened or read: a scan opens every control
#: directory, and to hear of each of them cost a daemon with nothing to do more than the scan itself.
HEARD: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
#: A watch is a thread. What lies beyond this many is found by the rescan, a little later.
MAX_WATCHES: Final = 128
_BACKOFF_S: Final = (60.0, 3600.0)
_OVERFLOW: Final = "watchdog.observers"


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """How watching is, for status: `watches` in place, `complaints` in words (empty = all is well)."""

    watches: int
    complaints: tuple[str, ...] = ()


class _Ring(FileSystemEventHandler):
    """Any event means: look. Never raises, never stats."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - the scan looks for itself
        self._ring()


class _OverflowListener(logging.Handler):
    """The only trace of a queue overflow is a log record."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._ring = ring
        self.overflows = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self.overflows += 1
            self._ring()


@dataclass
class Watcher:
    """Keeps non-recursive watches on a changing set of directories; rings for every event in one of them."""

    ring: Callable[[], None]
    make_observer: Callable[[], BaseObserver] = Observer
    clock: Callable[[], float] = time.monotonic
    _observer: BaseObserver | None = None
    _watched: dict[Path, tuple[object, int]] = field(default_factory=dict)
    _complaints: dict[str, str] = field(default_factory=dict)
    _retry_at: float = 0.0
    _backoff_s: float = _BACKOFF_S[0]

    def __post_init__(self) -> None:
        self._listener = _OverflowListener(self.ring)
        logging.getLogger(_OVERFLOW).addHandler(self._listener)

    def follow(self, wanted: Iterable[Path]) -> WatchHealth:
        """Watch these directories, the first ones first, as far as possible; mend what died, and say how it is."""
        if not self._alive():
            self._restart()
        self._complaints = {key: text for key, text in self._complaints.items() if key == "observer"}
        if self._observer is not None:
            kinds: dict[int, str] = {}
            hearing = list(islice((path for path in dict.fromkeys(wanted) if self._hears(path, kinds)), MAX_WATCHES))
            for path in set(self._watched) - set(hearing):
                self._unwatch(path)
            for path in hearing:
                self._watch(path)
        if self._listener.overflows:
            self._complaints["overflow"] = f"the kernel's event queue overflowed {self._listener.overflows} times"
        return WatchHealth(len(self._watched), tuple(self._complaints.values()))

    def stop(self) -> None:
        """End all watching."""
        logging.getLogger(_OVERFLOW).removeHandler(self._listener)
        self._drop_observer()

    def _alive(self) -> bool:
        return self._observer is not None and self._observer.is_alive()

    def _restart(self) -> None:
        """Build the observer anew; after a failure wait from a minute up to an hour, rescans go on meanwhile."""
        if self.clock() < self._retry_at:
            return
        died = self._observer is not None
        self._drop_observer()
        try:
            observer = self.make_observer()
            observer.start()
        except OSError as error:
            self._retry_at = self.clock() + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, _BACKOFF_S[1])
            self._complaints["observer"] = f"no events, rescans only: {_remedy(error)}"
            log.warning("watch_unavailable", reason=str(error))
            return
        self._observer, self._backoff_s = observer, _BACKOFF_S[0]
        self._complaints.pop("observer", None)
        if died:
            log.warning("watch_restarted")
            self.ring()

    def _drop_observer(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
        self._observer = None
        self._watched.clear()

    def _watch(self, path: Path) -> None:
        """One watch; a directory that was deleted and made again (another inode) is watched anew."""
        assert self._observer is not None
        try:
            inode = path.stat().st_ino
        except OSError:
            self._unwatch(path)
            return
        known = self._watched.get(path)
        if known and known[1] == inode and self._emitting(known[0]):
            return
        self._unwatch(path)
        try:
            watch = self._observer.schedule(_Ring(self.ring), str(path), recursive=False, event_filter=HEARD)
        except OSError as error:
            self._complaints["limit"] = f"{path}: {_remedy(error)}"
            return
        self._watched[path] = (watch, inode)
        # What happened here after the scan that made us watch, and before the watch stood, sent no event: an uploader
        # that made the folder and its marker within 2 ms of each other waited for the rescan, 30 s later.
        self.ring()

    def _unwatch(self, path: Path) -> None:
        known = self._watched.pop(path, None)
        if known and self._observer is not None:
            try:
                self._observer.unschedule(known[0])  # type: ignore[arg-type]
            except (KeyError, OSError):
                log.debug("watch_already_gone", path=str(path))

    def _emitting(self, watch: object) -> bool:
        assert self._observer is not None
        return any(emitter.watch == watch and emitter.is_alive() for emitter in self._observer.emitters)

    def _hears(self, path: Path, kinds: dict[int, str]) -> bool:
        """Whether there is a directory that can be watched. `kinds`: device -> filesystem, as far as looked up."""
        try:
            device = path.stat().st_dev
        except OSError:
            return False
        if device not in kinds:
            kinds[device] = filesystem_type(path)
        kind = kinds[device]
        if kind in DEAF or kind.startswith("fuse."):
            self._complaints[kind] = f"{path} is on {kind}, which sends no events: found by rescans"
            return False
        return True


def filesystem_type(path: Path) -> str:
    """The type of the filesystem that `path` lies on, from mountinfo; "" when it cannot be told."""
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts:
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""


def _remedy(error: OSError) -> str:
    """What an inotify error means: its own words ("no space left on device") mislead people."""
    limits = Path("/proc/sys/fs/inotify")
    if error.errno == 28:  # ENOSPC
        limit = (limits / "max_user_watches").read_text().strip()
        return f"inotify watch limit reached ({limit}); raise it: sysctl fs.inotify.max_user_watches=524288"
    if error.errno == 24:  # EMFILE
        limit = (limits / "max_user_instances").read_text().strip()
        return f"inotify instance limit reached ({limit}); raise it: sysctl fs.inotify.max_user_instances=1024"
    return str(error.strerror or error)
