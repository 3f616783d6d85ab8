"""A video file as a whole: when each of its pictures is shown, without decoding one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ...media import video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Film:
    """`times`: of the pictures, in seconds, ascending. `keys`: which of them are key frames, by position."""

    path: Path
    about: video.VideoInfo
    times: NDArray[np.float64]
    keys: NDArray[np.int64]


def read(path: Path) -> Film:
    """Read the packets of a video. Raises as `video.probe`."""
    about = video.probe(path)
    times, keys = [], []
    with video.reading(path, "its packets cannot be read"), av.open(f"file:{path}", metadata_errors="replace") as file:
        stream = file.streams.video[0]
        for packet in file.demux(stream):
            if packet.size and packet.pts is not None and stream.time_base is not None:
                times.append(float(packet.pts * stream.time_base))
                keys.append(packet.is_keyframe)
    order = np.argsort(times, kind="stable")
    shown = np.asarray(times, np.float64)[order]
    return Film(path, about, shown, np.flatnonzero(np.asarray(keys, bool)[order]))


class Player:
    """Pictures out of the middle of a video; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Player:
        with video.reading(self._path, "it is damaged, or not a video"):
            self._file = av.open(f"file:{self._path}", metadata_errors="replace")
        self._stream = self._file.streams.video[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def picture(self, time: float, tolerance: float) -> VideoFrame | None:
        """The picture shown at `time` in seconds, None when none is within `tolerance` of it.

        Raises `InputError` (`video_unreadable`) when decoding fails on the way there.
        """
        base: Any = self._stream.time_base
        with video.reading(self._path, f"the picture at {time:.4f} s cannot be decoded"):
            self._file.seek(max(0, round((time - tolerance) / base)), stream=self._stream)
            for frame in self._decoded():
                shown = float(frame.pts * base) if frame.pts is not None else -1.0
                if abs(shown - time) <= tolerance:
                    return frame
                if shown > time:
                    return None
        return None

    def _decoded(self) -> Iterator[VideoFrame]:
        yield from self._file.decode(self._stream)
