"""Whether the pictures of a video are where the rows of its episodes look for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from .rows import TOLERANCE_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from ..dataset import EpisodeEntry, VideoSpan

#: Seconds by which the written start of an episode may differ from its end of the one before: a tenth of a picture.
_SAME_PICTURE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong; `episode` is None for the file as a whole."""

    code: str
    message: str
    episode: int | None = None


def judge(
    times: NDArray[np.float64], parts: Sequence[tuple[EpisodeEntry, VideoSpan]], fps: Fraction, *, shared: bool
) -> list[Flaw]:
    """What is wrong with a file whose pictures are shown at `times` and that holds `parts`, in the order of starts.

    `shared`: the file may hold several episodes (v3.0). One reason a file, as far as one explains the rest: a wrong
    rate is not also reported as a wrong count.
    """
    if not len(times):
        return [Flaw("video_short", "holds no pictures")]
    if (rate := _other_rate(times, fps)) is not None:
        return [Flaw("video_rate", f"has {rate:.6g} pictures a second, the dataset {float(fps):.6g}")]
    if not shared:
        return _alone(times, parts[0][0], fps)
    return [*_together(times, parts, fps), *_ends(parts, fps)]


def _other_rate(times: NDArray[np.float64], fps: Fraction) -> float | None:
    """The rate of the pictures, where it is steady and not that of the dataset."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    step, average = float(np.median(np.diff(times))), float(times[-1] - times[0]) / (len(times) - 1)
    due = 1 / float(fps)
    # Pictures that are all there at whole milliseconds have the right average, a gap leaves the usual step.
    far = min(abs(step - due), abs(average - due)) / due > 1e-4
    drifts = abs(average - due) * (len(times) - 1) >= TOLERANCE_S
    return 1 / average if far and drifts else None


def _alone(times: NDArray[np.float64], entry: EpisodeEntry, fps: Fraction) -> list[Flaw]:
    count, rate = len(times), float(fps)
    if abs(times[0]) >= TOLERANCE_S:
        return [Flaw("video_start", f"begins at {times[0]:.6g} s instead of 0", entry.index)]
    if count < entry.length:
        return [Flaw("video_short", f"holds {count} pictures, the episode has {entry.length} rows", entry.index)]
    off = np.abs(times[: entry.length] - np.arange(entry.length) / rate)
    if (off >= TOLERANCE_S).any():
        frame = int(np.argmax(off >= TOLERANCE_S))
        message = f"picture {frame} is shown at {times[frame]:.6g} s instead of {frame / rate:.6g} s"
        return [Flaw("video_timing", message, entry.index)]
    if count > entry.length:
        return [Flaw("video_long", f"holds {count} pictures, the episode has {entry.length} rows", entry.index)]
    return []


def _together(times: NDArray[np.float64], parts: Sequence[tuple[EpisodeEntry, VideoSpan]], fps: Fraction) -> list[Flaw]:
    flaws, rate, before = [], float(fps), 0
    exact = len(times) == sum(entry.length for entry, _ in parts)
    for entry, span in parts:
        due = span.start_s + np.arange(entry.length) / rate
        nearest = _nearest(times, due)
        off = np.abs(times[nearest] - due)
        first = int(nearest[0])
        if off[0] < 0.5 / rate and (first < before or (exact and first > before)):
            flaws.append(_span(entry, span, first, before))
        elif off[-1] >= 0.5 / rate and due[-1] > times[-1]:
            there = int((off < 0.5 / rate).sum())
            flaws.append(Flaw("video_short", f"holds {there} of its {entry.length} pictures", entry.index))
        elif off[0] >= TOLERANCE_S:
            flaws.append(_drift(entry, span, float(times[first])))
        elif (off >= TOLERANCE_S).any():
            frame = int(np.argmax(off >= TOLERANCE_S))
            message = f"picture {frame} is shown at {times[nearest[frame]]:.6g} s instead of {due[frame]:.6g} s"
            flaws.append(Flaw("video_timing", message, entry.index))
        before = first + entry.length
    return flaws + _left_over(times, parts, flaws)


def _drift(entry: EpisodeEntry, span: VideoSpan, nearest: float) -> Flaw:
    message = f"starts at {span.start_s:.6g} s by the metadata, the nearest picture is at {nearest:.6g} s"
    return Flaw("video_drift", message, entry.index)


def _span(entry: EpisodeEntry, span: VideoSpan, first: int, due: int) -> Flaw:
    message = f"its span from {span.start_s:.6g} s on begins with picture {first} of the file, its own begin with {due}"
    return Flaw("video_span", message, entry.index)


def _left_over(
    times: NDArray[np.float64], parts: Sequence[tuple[EpisodeEntry, VideoSpan]], flaws: Sequence[Flaw]
) -> list[Flaw]:
    total = sum(entry.length for entry, _ in parts)
    if flaws or len(times) <= total:
        return []
    return [Flaw("video_long", f"holds {len(times)} pictures, its episodes have {total} rows")]


def _ends(parts: Sequence[tuple[EpisodeEntry, VideoSpan]], fps: Fraction) -> list[Flaw]:
    flaws = []
    for entry, span in parts:
        due = span.start_s + entry.length / float(fps)
        if abs(span.end_s - due) > _SAME_PICTURE / float(fps):
            message = f"ends at {span.end_s:.6g} s by the metadata, its pictures end at {due:.6g} s"
            flaws.append(Flaw("video_end", message, entry.index))
    return flaws


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """The position in `times` of what is nearest to each of `wanted`."""
    right = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    nearest: NDArray[np.int64] = np.where(np.abs(times[left] - wanted) <= np.abs(times[right] - wanted), left, right)
    return nearest
