"""What one run of the recording benchmark measured, and the JSON file it is kept in."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..identity import product_version

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final = 1

Mode = Literal["sync", "async", "daemon"]
MODES: Final[tuple[Mode, ...]] = ("sync", "async", "daemon")

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(_Model):
    """What is recorded, and how the background encoder is set up (`workers`, `queue_size`: mode "async" only)."""

    episodes: Annotated[int, Field(ge=1)] = 2
    episode_time_s: Annotated[float, Field(gt=0)] = 30.0
    fps: Annotated[int, Field(ge=1)] = 30
    cameras: Annotated[int, Field(ge=1)] = 1
    width: Annotated[int, Field(ge=16)] = 640
    height: Annotated[int, Field(ge=16)] = 480
    workers: Annotated[int, Field(ge=1)] = 2
    queue_size: Annotated[int, Field(ge=1)] = 100

    @property
    def frames(self) -> int:
        """Frames of one camera in one episode."""
        return max(1, round(self.episode_time_s * self.fps))


class EpisodeTimes(_Model):
    """One episode on the benchmark's clock: seconds since the first frame of the first episode was due.

    `started`: its first frame was due. `recorded`: its last frame was taken. `saved`: frames, table and metadata are on
    disk. `free`: the recording thread goes on; between `saved` and `free` it encoded, queued or marked the episode.
    `ready`: the encoded episode was verified. `encoding_s`: seconds that the encode stage took, wherever it ran.
    `late_frames`: frames taken more than half a frame period after they were due; `worst_lag_s`: the latest of them.
    `frames_recorded`, `frames_in_videos`: over all cameras; the second is counted by decoding the finished videos.
    """

    started: Seconds
    recorded: Seconds
    saved: Seconds
    free: Seconds
    ready: Seconds
    encoding_s: Seconds
    late_frames: Count
    worst_lag_s: Seconds
    frames_recorded: Count
    frames_in_videos: Count
    bytes_recorded: Count
    bytes_in_videos: Count

    @property
    def blocked_s(self) -> float:
        """How long the recording thread could not record because of encoding."""
        return self.free - self.saved


class Machine(_Model):
    """Where it was measured; numbers of different machines are not to be compared."""

    name: str
    cores: int
    python: str
    episoded: str
    load_before: float

    @classmethod
    def here(cls) -> Machine:
        """This machine, now."""
        return cls(
            name=f"{platform.system()} {platform.machine()}",
            cores=len(os.sched_getaffinity(0)),
            python=platform.python_version(),
            episoded=product_version(),
            load_before=round(os.getloadavg()[0], 2),
        )


class Result(_Model):
    """One run of one mode: what the JSON file holds."""

    schema_version: Literal[1] = SCHEMA
    mode: Mode
    at: float = Field(default_factory=time.time)
    settings: Settings
    machine: Machine
    episodes: Annotated[tuple[EpisodeTimes, ...], Field(min_length=1)]

    @property
    def recording_s(self) -> float:
        """Total recording time: from the first frame until the recording thread has nothing left to do."""
        return self.episodes[-1].free

    @property
    def ready_s(self) -> float:
        """From the first frame until every episode is ready and the recorder is done: the queue is drained."""
        return max(self.recording_s, *(episode.ready for episode in self.episodes))

    @property
    def drain_s(self) -> float:
        """How long encoding goes on after the recording is over."""
        return self.ready_s - self.recording_s

    @property
    def arrival_s(self) -> float:
        """The recording without any encoding: frames, PNG files, tables."""
        return self.recording_s - self.blocked_s

    @property
    def encoding_s(self) -> float:
        """Video encoding time: seconds of all encode stages; with several workers more than passed on the wall."""
        return sum(episode.encoding_s for episode in self.episodes)

    @property
    def blocked_s(self) -> float:
        """How long the recording thread could not record: encoding (sync), handing over (async, daemon)."""
        return sum(episode.blocked_s for episode in self.episodes)

    @property
    def late_frames(self) -> int:
        """Frames that the camera loop took too late."""
        return sum(episode.late_frames for episode in self.episodes)

    @property
    def worst_lag_s(self) -> float:
        """How late the latest frame was."""
        return max(episode.worst_lag_s for episode in self.episodes)

    @property
    def frames_recorded(self) -> int:
        """Frames that were recorded, over all cameras."""
        return sum(episode.frames_recorded for episode in self.episodes)

    @property
    def frames_in_videos(self) -> int:
        """Frames that the finished videos decode to."""
        return sum(episode.frames_in_videos for episode in self.episodes)


def save(result: Result, folder: Path) -> Path:
    """Write `<mode>_benchmark_<time>.json` below `folder`; never over an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = int(result.at)
    while True:
        path = folder / f"{result.mode}_benchmark_{stamp}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(result.model_dump_json(indent=2) + "\n")
        except FileExistsError:
            stamp += 1
        else:
            return path


def load(path: Path) -> Result:
    """Read a result file. Raises InputError naming the file and what is wrong in it."""
    remedy = "give the files that `episoded bench encode` wrote: <mode>_benchmark_<time>.json"
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError("result_unreadable", f"{path}: {error.strerror}", remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError("result_invalid", f"{path}: {where}: {first['msg']}", remedy) from error
