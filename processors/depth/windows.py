"""Which frames a window of the video model sees: a pure function of frame numbers.

Video-Depth-Anything looks at 32 frames at once. Each window after the first repeats ten frames that the window before
it has seen (the first frame of the video, one in the middle of that window, its last eight) and adds 22 new ones. The
repeated frames tie the windows together: the first two carry scale and shift over, the other eight are cross-faded.

    window 0      0 1 2 ................................ 31
    window k      0, 22 (k - 1) + 12, 22 k + 2 .. 22 k + 9 (repeated), 22 k + 10 .. 22 k + 31 (new)

Frames beyond the end are the last frame once more. Nothing here depends on what another window computed, so windows may
be computed in any order, by any number of processes; only the fold (`fold.py`) needs them in order.

Source of the rule: the offline mode of Video-Depth-Anything (Chen et al., CVPR 2025), as its authors' code does it.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 32  # frames that the model sees at once: the length of its table of positions in time
STEP = 22  # new frames of each window after the first
CARRIED = WINDOW - STEP  # repeated ones
ANCHORS = 2  # of those, the ones that carry scale and shift over
FADE = CARRIED - ANCHORS  # and the ones that are cross-faded
KEYFRAME = 12  # the position in a window whose frame the next window repeats as its position 1


def window_count(frames: int) -> int:
    """How many windows a video of `frames` frames needs.

    The first new frame that window k changes is 22 k + 3 (the cross-fade begins with the older window alone). The
    authors' code computes ceil(frames / 22) windows; where that is one more, the last one changes nothing.
    """
    if frames < 1:
        raise ValueError(f"a video has at least one frame, not {frames}")
    return max(1, -(-(frames - 3) // STEP))


def window_frames(window: int, frames: int) -> tuple[int, ...]:
    """The 32 frame numbers that window `window` of a video of `frames` frames sees, in the order of its positions."""
    if not 0 <= window < window_count(frames):
        raise ValueError(f"a video of {frames} frames has no window {window}")
    start = STEP * window
    first = 1 if window == 0 else STEP * (window - 1) + KEYFRAME
    numbers = (0, first, *range(start + ANCHORS, start + WINDOW))
    return tuple(min(number, frames - 1) for number in numbers)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive windows that one worker computes, `start` to `stop` - 1.

    Within a span the features of repeated frames are known already; a new span computes ten frames anew.
    """

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def after(self, window: int) -> Span:
        """What is left of the span once `window` is done."""
        return Span(window + 1, self.stop)

    def frames(self, frames: int) -> tuple[int, ...]:
        """The numbers of the frames that the span needs, ascending, each once, for a video of `frames` frames."""
        needed = {number for window in range(self.start, self.stop) for number in window_frames(window, frames)}
        return tuple(sorted(needed))


def spans(start: int, stop: int, length: int) -> tuple[Span, ...]:
    """The windows `start` to `stop` - 1 in spans of `length` (the last may be shorter)."""
    return tuple(Span(first, min(first + length, stop)) for first in range(start, stop, length))
