"""A Rerun recording on two timelines, `row` and `time`; what every kind of episode logs into it.

Rerun (rerun.io) is an extra: `episoded[view]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ..errors import EpisodedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_COLOURS = ((220, 60, 60), (60, 180, 60), (70, 110, 230))


def load_rerun() -> Any:
    """The module. Raises EpisodedError (`needs_rerun`)."""
    try:
        import rerun
    except ImportError as error:
        raise EpisodedError("needs_rerun", "rerun-sdk is not installed", "pip install 'episoded[view]'") from error
    return rerun


class Recording:
    """A file that the Rerun viewer opens; a context manager that finishes it."""

    def __init__(self, path: Path, episode: str) -> None:
        self.rerun = load_rerun()
        self._stream = self.rerun.RecordingStream("episoded", recording_id=episode)
        self._stream.save(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def at(self, row: int, seconds: float | None = None) -> None:
        """What is logged from now on belongs to this row; `seconds` from the first one, None: not known."""
        self._stream.set_time("row", sequence=row)
        if seconds is not None:
            self._stream.set_time("time", duration=seconds)

    def log(self, entity: str, thing: Any) -> None:
        """A thing at the present row."""
        self._stream.log(entity, thing)

    def always(self, entity: str, thing: Any) -> None:
        """A thing that does not change."""
        self._stream.log(entity, thing, static=True)

    def axes(self, entity: str, length: float) -> None:
        """The axes of a frame: x red, y green, z blue; `length` in m."""
        vectors = [[length * value for value in axis] for axis in _AXES]
        self.always(entity, self.rerun.Arrows3D(vectors=vectors, colors=_COLOURS))

    def pose(self, entity: str, pose: NDArray[Any], *, always: bool = False) -> None:
        """The (4, 4) pose of a frame in its parent's."""
        thing = self.rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])
        (self.always if always else self.log)(entity, thing)

    def scalars(self, entity: str, values: Sequence[float] | NDArray[Any]) -> None:
        """One or several curves."""
        self.log(entity, self.rerun.Scalars(values))

    def video(self, entity: str, path: Path) -> Video:
        """Embed a video file; its frames are shown by `Video.show`. What Rerun cannot play is said in its place."""
        asset = self.rerun.AssetVideo(path=str(path))
        try:
            stamps = [int(stamp) for stamp in asset.read_frame_timestamps_nanos()]
        except (RuntimeError, ValueError) as error:
            self.always(entity, self.rerun.TextLog(f"{path.name} cannot be shown: {error}"))
            return Video(self, entity, [])
        self.always(entity, asset)
        return Video(self, entity, stamps)


class Video:
    """A video in a recording: which of its frames is shown at a row."""

    def __init__(self, recording: Recording, entity: str, stamps: list[int]) -> None:
        self._recording, self._entity, self._stamps = recording, entity, stamps

    def show(self, frame: int) -> None:
        """Show a frame of it at the present row; beyond its end, nothing changes."""
        if 0 <= frame < len(self._stamps):
            reference = self._recording.rerun.VideoFrameReference(nanoseconds=self._stamps[frame])
            self._recording.log(self._entity, reference)
