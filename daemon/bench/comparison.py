"""The printed comparison: recording times as people quote them, and what they leave out.

A recording that ends while its episodes still wait in a queue looks faster than it was: the clock stopped too early.
So the time until every episode is ready stands beside each speedup, with the most that it can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .results import Mode, Result

RULE: Final = "=" * 80
TITLES: Final[dict[Mode, str]] = {
    "sync": "SYNCHRONOUS ENCODING (in the recording thread)",
    "async": "ASYNCHRONOUS ENCODING (in background threads of the recorder)",
    "daemon": "DAEMON ENCODING (frames handed to episoded)",
}
_COLUMN: Final = 14
_LABEL: Final = 26


def describe(result: Result) -> str:
    """One run in words: what was recorded, where, and how it went."""
    return "\n".join([RULE, *_setting(result), "", *_times(result), "", *_until_ready([result])])


def compare(results: Sequence[Result]) -> str:
    """The comparison of one run per mode, the synchronous one first. All with the same settings on one machine."""
    sync = results[0]
    lines = [RULE, "PERFORMANCE COMPARISON RESULTS", RULE, *_setting(sync)]
    for result in results:
        lines += ["", *_times(result)]
    for result in results[1:]:
        lines += ["", *_improvements(sync, result)]
    lines += ["", *_efficiency(sync, results[1:]), "", *_until_ready(results)]
    if len(results) > 1:
        lines += ["", *_verdict(sync, results[1:])]
    return "\n".join(lines)


def _setting(result: Result) -> list[str]:
    settings, machine = result.settings, result.machine
    what = f"{settings.cameras} camera{'s' if settings.cameras > 1 else ''} {settings.width}x{settings.height}"
    episodes = f"{settings.episodes} episode{'s' if settings.episodes > 1 else ''} of {settings.episode_time_s:g} s"
    return [
        f"{episodes}, {what} at {settings.fps} fps",
        f"{machine.cores} cores, {machine.name}, load {machine.load_before:g} before, episoded {machine.episoded}",
    ]


def _times(result: Result) -> list[str]:
    lines = [f"{TITLES[result.mode]}:", f"  Total recording time: {result.recording_s:.2f}s"]
    if result.mode == "sync":
        share = 100 * result.encoding_s / result.recording_s
        return [*lines, f"  Video encoding time: {result.encoding_s:.2f}s", f"  Encoding percentage: {share:.1f}%"]
    share = 100 * result.blocked_s / result.recording_s
    return [
        *lines,
        f"  Video encoding time (background): {result.encoding_s:.2f}s",
        f"  Task submission time: {result.blocked_s:.2f}s",
        f"  Submission percentage: {share:.1f}%",
    ]


def _improvements(sync: Result, other: Result) -> list[str]:
    saved = sync.recording_s - other.recording_s
    return [
        f"PERFORMANCE IMPROVEMENTS ({other.mode} over sync, recording time only):",
        f"  Time saved: {saved:.2f}s",
        f"  Speedup: {sync.recording_s / other.recording_s:.2f}x",
        f"  Improvement: {100 * saved / sync.recording_s:.1f}%",
    ]


def _efficiency(sync: Result, others: Sequence[Result]) -> list[str]:
    lines = ["ENCODING EFFICIENCY:", f"  Sync encoding blocks recording for: {sync.blocked_s:.2f}s"]
    for other in others:
        reduction = 100 * (1 - other.blocked_s / sync.blocked_s) if sync.blocked_s else 0.0
        lines.append(f"  {other.mode.capitalize()} encoding blocks recording for: {other.blocked_s:.2f}s")
        lines.append(f"  Blocking time reduction ({other.mode}): {reduction:.1f}%")
    return lines


def _until_ready(results: Sequence[Result]) -> list[str]:
    """The table that does not stop the clock too early, one column per run."""
    lines = ["UNTIL EVERY EPISODE IS READY (encoded and verified, nothing left in a queue):"]
    lines.append(" " * _LABEL + "".join(result.mode.rjust(_COLUMN) for result in results))
    for label, values in _rows(results):
        lines.append(f"  {label}".ljust(_LABEL) + "".join(value.rjust(_COLUMN) for value in values))
    return lines


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, list[str]]]:
    yield "Recording is over after", [f"{result.recording_s:.2f}s" for result in results]
    yield "All is ready after", [f"{result.ready_s:.2f}s" for result in results]
    yield "Encoding after the end", [f"{result.drain_s:.2f}s" for result in results]
    yield "Submit time", ["-" if result.mode == "sync" else f"{result.blocked_s:.3f}s" for result in results]
    yield "Recording blocked", [f"{result.blocked_s:.3f}s" for result in results]
    yield "Late camera frames", [f"{result.late_frames}" for result in results]
    yield "Latest frame by", [f"{1000 * result.worst_lag_s:.0f}ms" for result in results]
    yield "Frames recorded", [f"{result.frames_recorded}" for result in results]
    yield "Frames in the videos", [f"{result.frames_in_videos}" for result in results]


def _verdict(sync: Result, others: Sequence[Result]) -> list[str]:
    """Speedups of the time until ready, with their bound: encoding cannot do better than cost no time at all."""
    bound = sync.ready_s / sync.arrival_s
    words = ", ".join(f"{other.mode} {sync.ready_s / other.ready_s:.2f}x" for other in others)
    lines = [
        f"SPEEDUP UNTIL READY: {words}",
        f"  At most {bound:.2f}x: without any encoding the recording takes {sync.arrival_s:.2f}s.",
    ]
    if undrained := [other.mode for other in others if other.drain_s > 0]:
        modes = " and ".join(undrained)
        lines.append(f"  The speedups above leave out what {modes} had still to encode.")
    return lines
