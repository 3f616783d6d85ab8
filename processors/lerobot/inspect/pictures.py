"""Pictures decoded out of videos: the first and last of each episode, or every one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import InputError
from ...media import video
from ..picture_statistics import ImageStatistics, histogram, sample_indices
from .film import Player
from .rows import TOLERANCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from ..dataset import Dataset, EpisodeEntry
    from .film import Film
    from .reels import Viewed

#: Mean difference of luma, in levels of 255. Of one picture shown again, coders make skipped blocks, until the next key
#: frame comes, which loses other details than the last.
_SAME: Final = 0.05
_SAME_AS_FIRST: Final = 3.0
#: Pictures below which a camera that does not move is no wonder.
_LONG: Final = 5

Seen = tuple[int, dict[int, dict[str, Any]]]


def look_at_ends(dataset: Dataset, viewed: Viewed, film: Film) -> Seen:  # noqa: ARG001 - as look_at_all
    """Decode the first and the last picture of each episode in the file; how many were decoded."""
    path, rate, count = dataset.root / viewed.reel.file, float(dataset.fps), 0
    flawed = {finding.episode for finding in viewed.findings if finding.code.startswith("video_")}
    with Player(path) as player:
        for entry, span in viewed.reel.parts:
            if entry.index in flawed - {None} or any(finding.code == "video_rate" for finding in viewed.findings):
                continue  # that its pictures are not where they should be has been said
            for frame in sorted({0, entry.length - 1}):
                try:
                    shown = player.picture(span.start_s + frame / rate, TOLERANCE_S)
                except InputError:
                    shown = None
                if shown is None:
                    message = f"picture {frame} cannot be decoded"
                    viewed.add(dataset.root, "video_undecodable", message, entry.index)
                    break
                count += 1
    return count, {}


def look_at_all(dataset: Dataset, viewed: Viewed, film: Film) -> Seen:
    """Decode the whole file once: every picture must come out; statistics of each episode, and whether it moves."""
    path, times, count = dataset.root / viewed.reel.file, film.times, 0
    watches = _watches(viewed, film)
    try:
        for frame in video.frames(path, strict=True):
            for watch in watches:
                watch.see(count, frame)
            count += 1
    except InputError as error:
        if _comes_out(path, len(times)):
            viewed.add(dataset.root, "video_damaged", f"picture {count} is damaged inside; the decoder makes one up")
        else:
            viewed.add(dataset.root, "video_undecodable", f"decoding fails after {count} good pictures ({error.code})")
        return count, {}
    if count < len(times):
        viewed.add(dataset.root, "video_undecodable", f"decodes to {count} pictures, it has {len(times)} packets")
        return count, {}
    for watch in watches:
        if watch.still and watch.complete and watch.entry.length >= _LONG:
            message = f"all {watch.entry.length} pictures are the same"
            viewed.add(dataset.root, "video_frozen", message, watch.entry.index)
    return count, {watch.entry.index: watch.statistics.result() for watch in watches if watch.complete}


def _comes_out(path: Path, pictures: int) -> bool:
    """Whether a decoder that paints over damage, as LeRobot's do, gives that many pictures all the same."""
    try:
        return sum(1 for _ in video.frames(path)) == pictures
    except InputError:
        return False


class _Watch:
    """What one episode of a file looks like, from the pictures as they go by."""

    def __init__(self, entry: EpisodeEntry, first: int, *, is_depth: bool) -> None:
        self.entry = entry
        self.still = True
        self.statistics = ImageStatistics()
        self._first = first
        self._counted = frozenset() if is_depth else frozenset(sample_indices(entry.length))
        self._seen = 0
        self._first_seen: NDArray[np.int16] | None = None
        self._before: NDArray[np.int16] | None = None

    @property
    def complete(self) -> bool:
        """Whether every picture of the episode went by, and was looked at; those of depth are not."""
        return self._seen == self.entry.length and bool(self._counted)

    def see(self, position: int, frame: VideoFrame) -> None:
        """Look at the picture at `position` of the file."""
        number = position - self._first
        if not 0 <= number < self.entry.length:
            return
        self._seen += 1
        if number in self._counted:
            self.statistics.add(histogram(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)))
        if self.still and self._counted:
            self._compare(frame)

    def _compare(self, frame: VideoFrame) -> None:
        luma = frame.to_ndarray(format="gray")[::4, ::4].astype(np.int16)
        if self._first_seen is None or self._before is None:
            self._first_seen = luma
        else:
            moved = float(np.abs(luma - self._before).mean()) >= _SAME and not frame.key_frame
            self.still = not moved and float(np.abs(luma - self._first_seen).mean()) < _SAME_AS_FIRST
        self._before = luma


def _watches(viewed: Viewed, film: Film) -> list[_Watch]:
    times = film.times
    return [
        _Watch(entry, int(np.argmin(np.abs(times - span.start_s))), is_depth=viewed.reel.camera.is_depth)
        for entry, span in viewed.reel.parts
    ]
