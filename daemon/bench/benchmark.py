"""One run: record with one mode of encoding, wait until everything is ready, count what came of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from .. import checkpoint
from ..control import ControlDir
from ..errors import EpisodedError
from .encoding import encoding
from .recording import record
from .results import EpisodeTimes, Machine, Result, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .recording import Taken
    from .results import Mode

#: Of the simulated cameras, noise included, at the recorder's compression.
_PNG_BYTES_PER_PIXEL: Final = 1.6
_WARM_UP: Final = Settings(episodes=1, episode_time_s=0.3, cameras=1, width=320, height=240)


def run(mode: Mode, settings: Settings, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Record `settings.episodes` episodes below `folder`, which holds nothing of it afterwards; `tell` hears how far.

    Before the clock starts a tiny recording goes the same way: what a recorder or a daemon that has been running for a
    while has long done (imports, the start of a worker) is no cost of encoding. Raises EpisodedError when there is no
    room (`no_room`), when an episode fails, or when a frame is missing at the end (`frames_lost`).
    """
    _check_room(settings, folder)
    machine = Machine.here()
    with encoding(mode, folder / mode, settings) as into:
        record(into.folder / "warm-up", _WARM_UP, into.hand_over)
        into.drain()
        root = into.folder / "dataset"
        recorded = record(root, settings, into.hand_over, tell)
        tell("waiting until every episode is ready")
        into.drain()
    tell("counting the frames in the videos")
    origin = recorded[0][0].started
    episodes = tuple(_times(root, taken, free, origin) for taken, free in recorded)
    result = Result(mode=mode, settings=settings, machine=machine, episodes=episodes)
    if result.frames_in_videos != result.frames_recorded:
        raise EpisodedError(
            "frames_lost",
            f"{mode}: {result.frames_recorded} frames were recorded, {result.frames_in_videos} are in the videos",
            f"this must not happen: please report it, with {folder / mode}",
        )
    shutil.rmtree(folder / mode)
    return result


def _times(root: Path, taken: Taken, free: float, origin: float) -> EpisodeTimes:
    """What is known of an episode once it is ready; its videos are counted by decoding them, after the clock."""
    control = ControlDir.of(root, taken.id)
    record = checkpoint.read(checkpoint.stage_path(control, "encode"))
    assert record is not None
    return EpisodeTimes(
        started=taken.started - origin,
        recorded=taken.recorded - origin,
        saved=taken.saved - origin,
        free=free - origin,
        ready=(control.path / "ready").stat().st_mtime - origin,
        encoding_s=record.seconds,
        late_frames=taken.late_frames,
        worst_lag_s=taken.worst_lag_s,
        frames_recorded=taken.frames,
        frames_in_videos=sum(_frames_in(root / output.path) for output in record.outputs),
        bytes_recorded=taken.bytes,
        bytes_in_videos=sum(output.size for output in record.outputs),
    )


def _frames_in(video: Path) -> int:
    from episoded.processors.media.video import frames

    return sum(1 for _ in frames(video))


def _check_room(settings: Settings, folder: Path) -> None:
    pixels = settings.width * settings.height * settings.frames * settings.cameras * settings.episodes
    needed, free = int(pixels * _PNG_BYTES_PER_PIXEL), shutil.disk_usage(folder).free
    if needed > free:
        raise EpisodedError(
            "no_room",
            f"the frames of this recording take about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free at {folder}",
            "record less (--episodes, --episode-time, --cameras), or set TMPDIR to a larger disk",
        )
