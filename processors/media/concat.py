"""Videos joined into one file, and cut out of it again, packet by packet: nothing is decoded, no bit of a picture lost.

Every packet's time is set anew from the number of its frame: frame k of the file lies at k / rate to the last digit,
however many videos came before. Joining by the length that a file's header gives, as the concat demuxer of the ffmpeg
command line does, is off by up to a millisecond for each video, and LeRobot looks for a frame within 0.1 ms.

Videos can be joined when their codec, its parameter sets and their size are the same: an MP4 track has one set of
headers, and a decoder that is given another video's packets shows garbage, or nothing.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import av

from ..errors import EpisodedError, InputError, from_os_error
from .clip import Clip, frame_number, frames_missing, seek
from .video import from_av_error, opened_stream, reading
from .writer import OutputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from fractions import Fraction
    from pathlib import Path

_COARSEST: Final = 10_000  # ticks per second below which the MP4 muxer chooses a clock of its own


@dataclass(frozen=True, slots=True)
class Joined:
    """What a clip has become: its first frame in the new file, and the sha256 of its packets, one after another."""

    first: int
    digest: str


def join(clips: Sequence[Clip], path: Path, rate: Fraction, tick: Callable[[], None] = lambda: None) -> list[Joined]:
    """Write the clips, one after another, to the MP4 file `path`; `rate` in frames per second, `tick` once a packet.

    The file is not synced, and is removed when joining fails. Raises InputError: `video_unlike` for a clip whose codec,
    parameter sets or size are not the first one's, `not_at_keyframe` for one that cannot be cut out without encoding,
    `video_timing`, `video_frames` for one that is not what it should be; and as `video.probe`.
    """
    delay = max(_reordering(clip, rate) for clip in clips)
    with opened_stream(clips[0].path) as (_, first), _mp4(path) as container:
        stream = container.add_stream_from_template(first, opaque=True)
        step = _ticks_per_frame(first.time_base, rate)
        stream.time_base = 1 / (step * rate)
        joined, done = [], 0
        for clip in clips:
            joined.append(Joined(done, _copy(clip, container, stream, _Clock(rate, step, done, delay), first, tick)))
            done += clip.frames
    return joined


def digest(clip: Clip, rate: Fraction, tick: Callable[[], None] = lambda: None) -> str:
    """The sha256 of the packets of a clip, as `join` gives it. Raises as `join`."""
    found = hashlib.sha256()
    for _, packet in packets_of(clip, rate):
        found.update(packet)
        tick()
    return found.hexdigest()


def packets_of(clip: Clip, rate: Fraction) -> Iterator[tuple[int, Any]]:
    """(frame number within the clip, packet) of every packet of a clip, in the order of decoding.

    Raises InputError: `not_at_keyframe` and `video_timing` as `join`, `video_frames` when frames are missing.
    """
    with opened_stream(clip.path) as (container, stream):
        seek(container, stream, clip.first, rate)
        seen: set[int] = set()
        for packet in _demuxed(container, stream, clip.path):
            number = frame_number(packet, clip, rate) - clip.first
            if not seen and (number != 0 or not packet.is_keyframe):
                raise _not_at_keyframe(clip, f"the keyframe before it is {-number} frames earlier")
            if number >= clip.frames:
                break
            if number < 0 or number in seen:
                raise _not_at_keyframe(clip, f"frame {clip.first + number} is decoded within it")
            seen.add(number)
            yield number, packet
        if len(seen) != clip.frames:
            raise _incomplete(clip, container, stream, len(seen))


@dataclass(frozen=True, slots=True)
class _Clock:
    """Times in the new file: `step` ticks for a frame, `before` frames lie before the clip.

    A packet may be decoded `delay` frames earlier than it is shown, which is what B frames need. One delay for the
    whole file keeps the decoding times of the clips in one row.
    """

    rate: Fraction
    step: int
    before: int
    delay: int

    def set(self, packet: Any, number: int, place: int) -> None:
        """Give the packet of frame `number` of the clip, the `place`-th to be decoded, its times."""
        packet.pts = (self.before + number) * self.step
        packet.dts = (self.before + place - self.delay) * self.step
        packet.duration = self.step


def _copy(clip: Clip, container: Any, stream: Any, clock: _Clock, like: Any, tick: Callable[[], None]) -> str:
    """Write the packets of one clip; returns their sha256."""
    found = hashlib.sha256()
    for place, (number, packet) in enumerate(packets_of(clip, clock.rate)):
        if place == 0:
            _check_like(clip, packet.stream, like)
        found.update(packet)
        clock.set(packet, number, place)
        packet.time_base, packet.stream = stream.time_base, stream
        container.mux(packet)
        tick()
    return found.hexdigest()


def _reordering(clip: Clip, rate: Fraction) -> int:
    """By how many frames decoding must run ahead of showing. Finds before anything is written what is not whole."""
    return max((place - number for place, (number, _) in enumerate(packets_of(clip, rate))), default=0)


def _ticks_per_frame(time_base: Fraction, rate: Fraction) -> int:
    """Ticks of the new file's clock for one frame: the first clip's, where they are whole and the clock fine enough.

    A coarser clock the MP4 muxer would double until it is, as is done here.
    """
    ticks = 1 / (time_base * rate)
    if ticks.denominator == 1 and 1 / time_base >= _COARSEST:
        return ticks.numerator
    doubled: int = next(2**power for power in range(64) if rate.numerator * 2**power >= _COARSEST)
    return rate.denominator * doubled


def _demuxed(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """The packets that hold something."""
    packets = container.demux(stream)
    while True:
        with reading(path, "its packets cannot be read"):
            packet = next(packets, None)
        if packet is None:
            return
        if packet.size:
            yield packet


def _check_like(clip: Clip, stream: Any, like: Any) -> None:
    here, there = _kind(stream), _kind(like)
    if here != there:
        what = "other parameter sets" if here[:3] == there[:3] else f"{_words(here)} instead of {_words(there)}"
        raise InputError("video_unlike", f"{clip.path} has {what} than the videos before it", "encode it like them")


def _kind(stream: Any) -> tuple[str, str, tuple[int, int], bytes]:
    context = stream.codec_context
    size, headers = (stream.width, stream.height), bytes(context.extradata or b"")
    return stream.codec.canonical_name, context.pix_fmt or "", size, headers


def _words(kind: tuple[str, str, tuple[int, int], bytes]) -> str:
    codec, pix_fmt, (width, height), _ = kind
    return f"{codec} {pix_fmt} {width}x{height}"


def _not_at_keyframe(clip: Clip, why: str) -> InputError:
    return InputError(
        "not_at_keyframe",
        f"frame {clip.first} of {clip.path} cannot be cut out without encoding: {why}",
        "the frames are encoded anew",
    )


def _incomplete(clip: Clip, container: Any, stream: Any, found: int) -> InputError:
    """Frames that lie behind a later one are entangled with it; others are not there."""
    if next(iter(_demuxed(container, stream, clip.path)), None) is not None:
        return _not_at_keyframe(clip, "a later frame is decoded within it")
    return frames_missing(clip, found)


@contextmanager
def _mp4(path: Path) -> Iterator[Any]:
    """An MP4 file to write packets to, its index at the front; removed when anything goes wrong."""
    output = container = None
    try:
        output = OutputFile(path)
        container = av.open(output, "w", format="mp4", options={"movflags": "+faststart"})
        yield container
        container.close()
    except BaseException as error:
        if container is not None:
            with suppress(av.error.FFmpegError, OSError):  # the failure that led here is the one to report
                container.close()
        path.unlink(missing_ok=True)
        known = _in_our_words(error, path)
        if known is None:
            raise
        raise known from error
    finally:
        if output is not None:
            output.close()


def _in_our_words(error: BaseException, path: Path) -> EpisodedError | None:
    if isinstance(error, av.error.FFmpegError):
        refused = EpisodedError("join_failed", f"{path}: {error.strerror}", "`episoded verify` the videos to be joined")
        return from_av_error(error, path, refused)
    if isinstance(error, OSError):
        return from_os_error(OSError(error.errno, error.strerror, str(path)))
    return None
