"""A synthetic recording in real time: simulated cameras at their pace, frames written as PNG by background threads.

It does what LeRobot's recorder does, in its order: a camera loop that must not be late, threads that write the frames,
and after the last frame of an episode the table and the metadata. What then becomes of the frames is the mode's affair.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from episoded.processors.simulation import Recorder, write_png
from episoded.processors.simulation_scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from episoded.processors.simulation_scene import Step

    from .results import Settings

WRITERS_PER_CAMERA: Final = 4  # as LeRobot
#: Frames that may wait to be written; then the camera loop waits, is late, and the result says so. LeRobot's queue
#: grows without end: the loop is on time until memory runs out.
WAITING_FRAMES: Final = 256


@dataclass(frozen=True, slots=True)
class Taken:
    """One recorded episode, in seconds of `time.time()`; see `results.EpisodeTimes`."""

    id: str
    started: float
    recorded: float
    saved: float
    late_frames: int
    worst_lag_s: float
    frames: int
    bytes: int


class FrameWriters:
    """Threads that write frames as PNG; a context manager."""

    def __init__(self, threads: int) -> None:
        self._queue: queue.Queue[tuple[Path, NDArray[np.uint8]] | None] = queue.Queue(WAITING_FRAMES)
        self._failure: OSError | None = None
        self._threads = [threading.Thread(target=self._work, name="frame-writer") for _ in range(threads)]

    def __enter__(self) -> FrameWriters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def write(self, path: Path, picture: NDArray[np.uint8]) -> None:
        """Have a frame written soon; waits while too many are waiting."""
        self._queue.put((path, picture))

    def flush(self) -> None:
        """Wait until every frame is in its file. Raises the first OSError that a thread met."""
        self._queue.join()
        if self._failure:
            raise self._failure

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                write_png(*task)
            except OSError as error:
                self._failure = self._failure or error
            finally:
                self._queue.task_done()


class PacedScene(Scene):
    """The simulated cameras, whose frame k is to be had k / fps seconds after the first, and not before.

    A loop that is late gets its next frame at once, as from a camera's buffer: frames are never dropped.
    """

    started = recorded = worst_lag_s = 0.0
    late_frames = 0

    def episode(self, index: int, frames: int, fps: float) -> Iterator[Step]:
        """The steps of an episode, each when it is due."""
        self.started, self.late_frames, self.worst_lag_s = time.time(), 0, 0.0
        start = time.perf_counter()
        for frame, step in enumerate(super().episode(index, frames, fps)):
            lag = time.perf_counter() - (start + frame / fps)
            if lag < 0:
                time.sleep(-lag)
            self.worst_lag_s = max(self.worst_lag_s, lag)
            self.late_frames += lag > 0.5 / fps
            yield step
        self.recorded = time.time()


class PacedRecorder(Recorder):
    """The simulated recorder, at the pace of its cameras and with frames written in the background."""

    def __init__(self, root: Path, settings: Settings, writers: FrameWriters) -> None:
        cameras = [f"camera{number}" for number in range(settings.cameras)]
        size = (settings.height, settings.width)
        super().__init__(root, settings.fps, cameras, size, "v2.1")
        self.scene: PacedScene = PacedScene(cameras, size)
        self._writers = writers
        self._frames = settings.frames

    def write_frame(self, path: Path, picture: NDArray[np.uint8]) -> None:
        """Leave the frame to the threads."""
        self._writers.write(path, picture)

    def take(self, index: int) -> Taken:
        """Record one episode and wait until all of it is on disk."""
        name = self.episode(index, self._frames)
        self._writers.flush()
        files = [path for key in self.keys.values() for path in (self.root / "images" / key / name).iterdir()]
        size = sum(path.stat().st_size for path in files)
        return Taken(
            id=name,
            started=self.scene.started,
            recorded=self.scene.recorded,
            saved=time.time(),
            late_frames=self.scene.late_frames,
            worst_lag_s=self.scene.worst_lag_s,
            frames=len(files),
            bytes=size,
        )


def record(
    root: Path, settings: Settings, hand_over: Callable[[Path, str], None], tell: Callable[[str], None] = lambda _: None
) -> list[tuple[Taken, float]]:
    """Record one episode after the other into the dataset at `root`: (episode, when the recording thread was free).

    `hand_over(root, episode_id)` is called by the recording thread after each, and blocks it for as long as it takes.
    """
    episodes = []
    with FrameWriters(WRITERS_PER_CAMERA * settings.cameras) as writers:
        recorder = PacedRecorder(root, settings, writers)
        for index in range(settings.episodes):
            taken = recorder.take(index)
            hand_over(root, taken.id)
            episodes.append((taken, time.time()))
            tell(f"episode {index + 1} of {settings.episodes} recorded")
    return episodes
