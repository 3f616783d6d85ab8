"""The statistics that LeRobot keeps of each episode: computed as its recorder computes them, and put into place.

`meta/episodes_stats.jsonl` of v2.1 has one line for each episode,
`{"episode_index": 0, "stats": {key: {"min", "max", "mean", "std", "count"}}}`; `meta/stats.json` of v2.0 has the same
of the whole dataset.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

Stats = dict[str, dict[str, Any]]

#: What v3.0 keeps besides: name -> share of the values that lie below it.
QUANTILES: Final = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_MOMENTS = ("min", "max", "mean", "std")


def of_columns(columns: Mapping[str, NDArray[Any]], fps: Fraction) -> Stats:
    """Statistics over the rows of each column (rows, ...), as `compute_episode_stats` of lerobot 0.3.3 gives them.

    The arithmetic runs in the dtype of the column, as there; `count` is [rows].
    """
    return {key: _of_rows(as_recorded(key, column, fps)) for key, column in columns.items() if len(column)}


def in_order(stats: Stats, keys: Iterable[str]) -> Stats:
    """The same with the keys in the order of the dataset's features, as LeRobot writes them."""
    known = [key for key in keys if key in stats]
    return {key: stats[key] for key in (*known, *(key for key in stats if key not in known))}


def is_valid_picture(entry: object) -> bool:
    """Whether `entry` is what LeRobot wants of a camera: numbers (3, 1, 1) in 0..1 in order, from at least one picture.

    Recorders that never saw the pictures leave the entry out, or write NaN or other shapes.
    """
    if not isinstance(entry, dict) or not all(_is_channels(entry.get(name)) for name in _MOMENTS):
        return False
    count = entry.get("count", [1])  # v2.0 had none
    if not (isinstance(count, list) and len(count) == 1 and type(count[0]) is int and count[0] > 0):
        return False
    low, high, mean, std = (np.asarray(entry[name], np.float64).ravel() for name in _MOMENTS)
    ordered = (low <= mean + 1e-9) & (mean <= high + 1e-9) & (std >= 0) & (low >= 0) & (high <= 1)
    # A spread of zero over values that differ is lerobot's overflow bug of 0.4.0 to 0.5.1 (its #3682).
    return bool((ordered & ((std > 0) | (low == high))).all())


def line(index: int, stats: Stats, quantiles: Stats | None = None) -> bytes:
    """The line of an episode, as the `jsonlines` library of LeRobot writes it; `quantiles` are for ourselves."""
    value = {"episode_index": index, "stats": stats, **({"quantiles": quantiles} if quantiles else {})}
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def line_of(content: bytes, index: int) -> bytes | None:
    """The line of episode `index` as it was written, or None when there is none that is whole."""
    for start, end in reversed(_lines_of(content, index)):  # LeRobot takes the last
        if _parsed(content[start:end]):
            return content[start:end]
    return None


def with_line(content: bytes, index: int, stats: Stats, cameras: Collection[str]) -> bytes:
    """`meta/episodes_stats.jsonl` with a whole line for episode `index`.

    An absent line is added from `stats`; in a line that is there, only absent features and invalid cameras are filled
    in. Everything else stays byte for byte, except a last line that was cut off in the middle: such a line stops
    LeRobot from opening the dataset, and it is computed again when its episode is finished.
    """
    content = _without_torn_end(content)
    for start, end in reversed(_lines_of(content, index)):  # LeRobot takes the last line of an episode
        if entry := _parsed(content[start:end]):
            filled = _filled(entry["stats"], stats, cameras)
            if filled is None:
                return content
            new = json.dumps({**entry, "stats": filled}, ensure_ascii=False).encode()
            return content[:start] + new + content[end:]
    return content + line(index, stats)


def aggregate(episodes: Sequence[Stats]) -> Stats:
    """Statistics of the dataset from those of its episodes, weighted by their counts.

    Mean and variance of several samples by the parallel formula of Chan, Golub and LeVeque (1979), as in LeRobot.
    Quantiles, where all have them, are averaged, as LeRobot does it: an estimate, not the quantile of all values.
    """
    keys = dict.fromkeys(key for stats in episodes for key in stats)
    return {key: _together([stats[key] for stats in episodes if key in stats]) for key in keys}


def with_aggregate(found: Mapping[str, Any], total: Stats, cameras: Collection[str]) -> dict[str, Any]:
    """`meta/stats.json` of v2.0, as `found`, with what it lacks.

    An entry of the recorder is kept if it is valid. Ours have a `count`, which v2.0's own have not, and are replaced
    by an aggregate over as many or more samples.
    """
    stats = {**found}
    for key, entry in total.items():
        old = stats.get(key)
        if not isinstance(old, dict) or (key in cameras and not is_valid_picture(old)) or _ours(old, entry):
            stats[key] = entry
    return stats


def _ours(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    count = old.get("count")
    return isinstance(count, list) and count <= new["count"]


def as_recorded(key: str, column: NDArray[Any], fps: Fraction) -> NDArray[Any]:
    """The column as the recorder had it in memory: time stamps are doubles there, and float32 only in the table."""
    if key != "timestamp":
        return column
    exact = np.arange(len(column)) / float(fps)
    return exact if np.array_equal(exact.astype(column.dtype), column) else column.astype(np.float64)


def _of_rows(column: NDArray[Any]) -> dict[str, Any]:
    keep = column.ndim == 1
    with np.errstate(all="ignore"):  # a sensor that said inf gives NaN, as in LeRobot
        moments = {name: getattr(np, name)(column, axis=0, keepdims=keep).tolist() for name in _MOMENTS}
    return {**moments, "count": [len(column)]}


def _is_channels(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(
            isinstance(row, list)
            and len(row) == 1
            and isinstance(row[0], list)
            and len(row[0]) == 1
            and isinstance(row[0][0], int | float)
            and math.isfinite(row[0][0])
            for row in value
        )
    )


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(value, dict) and "episode_index" in value and isinstance(value.get("stats"), dict)
    return value if whole else None


def _lines_of(content: bytes, index: int) -> list[tuple[int, int]]:
    """Where the lines of an episode lie. By a pattern: parsing them all would take a second with 10,000 episodes."""
    found = []
    for match in re.finditer(rb'"episode_index"\s*:\s*%d\s*[,}]' % index, content):
        start, end = content.rfind(b"\n", 0, match.start()) + 1, content.find(b"\n", match.end())
        found.append((start, end if end >= 0 else len(content)))
    return found


def _without_torn_end(content: bytes) -> bytes:
    """The content with a line end after its last line, or without that line when it is cut off."""
    last = content.rfind(b"\n") + 1
    if not content[last:].strip() or _parsed(content[last:]) is None:
        return content[:last]
    return content + b"\n"


def _filled(theirs: Stats, ours: Stats, cameras: Collection[str]) -> Stats | None:
    """Their statistics with what they lack, or None when they lack nothing."""
    lacking = [key for key in ours if key not in theirs or (key in cameras and not is_valid_picture(theirs[key]))]
    return in_order({**theirs, **{key: ours[key] for key in lacking}}, ours) if lacking else None


def _together(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    low, high, means, stds = (np.stack([np.asarray(entry[name]) for entry in entries]) for name in _MOMENTS)
    counts = np.stack([np.asarray(entry["count"]) for entry in entries])
    total = counts.sum(axis=0)
    weights = counts.reshape(counts.shape + (1,) * (means.ndim - counts.ndim))
    mean = (means * weights).sum(axis=0) / total
    variance = ((stds**2 + (means - mean) ** 2) * weights).sum(axis=0) / total
    return {
        "min": low.min(axis=0).tolist(),
        "max": high.max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": total.tolist(),
        **{
            name: ((np.stack([np.asarray(entry[name]) for entry in entries]) * weights).sum(axis=0) / total).tolist()
            for name in QUANTILES
            if all(name in entry for entry in entries)
        },
    }
