"""Where the recorded episodes are encoded: the three modes. The work is the same chain in each, to the same end."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self

from episoded.processors import formats

from ..chain import Work, work_on
from ..config import Pipeline
from ..control import ControlDir
from ..errors import EpisodedError
from ..private import PrivateService

if TYPE_CHECKING:
    from pathlib import Path

    from .results import Mode, Settings

_POLL_S: Final = 0.05


class Encoding(Protocol):
    """A mode; a context manager around the recording. `folder`: where the recorder makes its datasets."""

    folder: Path

    def __enter__(self) -> Self:
        """Get ready before the clock runs."""

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""

    def hand_over(self, root: Path, episode_id: str) -> None:
        """Called by the recording thread with an episode that is on disk; blocks it for as long as it takes."""

    def drain(self) -> None:
        """Wait until every episode that was handed over is ready. Raises EpisodedError when one failed."""


class InTheRecordingThread:
    """Mode "sync": the recording stops and everything is encoded, with all cores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def hand_over(self, root: Path, episode_id: str) -> None:
        """Encode it here and now."""
        _process(root, episode_id, threads=len(os.sched_getaffinity(0)))

    def drain(self) -> None:
        """Nothing is left to do."""


class InBackgroundThreads:
    """Mode "async": threads of the recorder's own process take the episodes from a bounded queue."""

    def __init__(self, folder: Path, workers: int, queue_size: int) -> None:
        self.folder = folder
        self._threads_each = max(1, len(os.sched_getaffinity(0)) // workers)
        self._queue: queue.Queue[tuple[Path, str] | None] = queue.Queue(queue_size)
        self._failure: EpisodedError | None = None
        self._threads = [threading.Thread(target=self._work, name=f"encoder{number}") for number in range(workers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if any(error):
            self._forget_what_waits()
        for _thread in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def hand_over(self, root: Path, episode_id: str) -> None:
        """Queue it; waits while the queue is full."""
        self._queue.put((root, episode_id))

    def drain(self) -> None:
        """Wait until the queue is empty and the threads have nothing in hand."""
        self._queue.join()
        if self._failure:
            raise self._failure

    def _forget_what_waits(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                _process(*task, self._threads_each)
            except EpisodedError as error:
                self._failure = self._failure or error
            finally:
                self._queue.task_done()


class InTheDaemon:
    """Mode "daemon": the datasets lie in the drop folder of a real daemon, which gets a marker for each episode."""

    def __init__(self, folder: Path) -> None:
        self._service = PrivateService(folder)
        self.folder = self._service.drop
        self._handed_over: list[ControlDir] = []

    def __enter__(self) -> Self:
        self._service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._service.stop()

    def hand_over(self, root: Path, episode_id: str) -> None:
        """Write the marker, as an uploader does it last."""
        control = ControlDir.of(root, episode_id)
        control.submit()
        self._handed_over.append(control)

    def drain(self) -> None:
        """Wait until the daemon has finished, tidying included."""
        for control in self._handed_over:
            while not control.markers().cleaned:
                self._service.check()
                _raise_failure(control)
                time.sleep(_POLL_S)
        self._handed_over.clear()


def encoding(mode: Mode, folder: Path, settings: Settings) -> Encoding:
    """The mode, below a folder of its own."""
    match mode:
        case "sync":
            return InTheRecordingThread(folder)
        case "async":
            return InBackgroundThreads(folder, settings.workers, settings.queue_size)
        case "daemon":
            return InTheDaemon(folder)


def _process(root: Path, episode_id: str, threads: int) -> None:
    layout = formats.detect(root)
    assert layout is not None
    work = Work(root, root, episode_id, layout.name, Pipeline(name="default"), threads=threads)
    while work_on(work) == "waiting":  # it met the recorder while that was rewriting info.json: try again
        time.sleep(_POLL_S)
    _raise_failure(work.control)


def _raise_failure(control: ControlDir) -> None:
    """Raise what an episode failed with, if it has failed for good."""
    markers = control.markers()
    if markers.failed and (record := control.failure(markers)):
        raise EpisodedError(str(record["code"]), f"{control.path.name}: {record['message']}", str(record["hint"]))
