"""The statistics that policies normalise with: there, of the right shape, possible, and those of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...formats.lerobot_info import EPISODES_STATS, STATS
from ..findings import Severity
from ..reading import read_episode_stats, read_total_stats
from ..v30.reading import EPISODES_FOLDER
from .moments import Moments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePosixPath

    from ..dataset import Dataset, Feature, Stats
    from ..findings import Finding, Problems
    from .rows import EpisodeRows

_MOMENTS: Final = ("min", "max", "mean", "std")
_QUANTILES: Final = ("q01", "q10", "q50", "q90", "q99")
#: Nobody normalises these, and a dataset that was cut or merged keeps old ones of them.
_COUNTERS: Final = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
#: Part of a feature's range by which statistics may differ: other tools reckon in float32.
_CLOSE: Final = 1e-3
#: The same for pictures, in 0..1: statistics come from the PNGs, the video has lost a little.
_CLOSE_PICTURES: Final = 0.03


class StatisticsCheck:
    """Compares statistics with what the tables and pictures hold, as they go by."""

    def __init__(self, dataset: Dataset, report: Problems, problems: list[Finding]) -> None:
        self._dataset = dataset
        self._report = report
        self._recorded = read_episode_stats(dataset, problems)
        self._waiting: dict[int, Stats] = {}
        self._totals: dict[str, Moments] = {}
        self._file = EPISODES_FOLDER if dataset.version >= (3, 0) else EPISODES_STATS
        self._kept = dataset.version > (2, 0) and self._are_there()

    def episode(self, rows: EpisodeRows) -> None:
        """Check the statistics of an episode whose rows have been read."""
        for key, moments in rows.moments.items():
            self._totals.setdefault(key, Moments()).merge(moments)
        if not self._kept:
            return
        index = rows.entry.index
        stats = self._find(index)
        if not stats:
            self._report.add("stats_episode", "no statistics of it", self._file, episode=index)
            return
        self._check(stats, rows.moments, self._file, index)

    def pictures(self, episode: int, camera: str, seen: Mapping[str, Any], stats: Stats) -> None:
        """Compare the statistics of a camera with those of its decoded pictures."""
        if _wrong_picture(stats.get(camera), 3):
            return  # that has been said
        off = max(float(np.abs(_array(stats[camera][name]) - _array(seen[name])).max()) for name in ("mean", "std"))
        if off > _CLOSE_PICTURES:
            message = f"mean or std differ by {off:.3f} from those of its pictures"
            self._report.add("stats_wrong", message, self._file, episode=episode, camera=camera)

    def total(self) -> None:
        """Check `meta/stats.json`, once all rows have been read."""
        if self._dataset.version == (2, 1):
            return
        stats = read_total_stats(self._dataset, [])
        if stats is None:
            self._report.add("stats_missing", "there are no statistics of the dataset", STATS)
            return
        self._check(stats, self._totals, STATS, None)
        lacking = [key for key in stats if key in self._dataset.features and not set(_QUANTILES) <= set(stats[key])]
        if self._dataset.version >= (3, 0) and lacking:
            self._report.add("stats_quantiles", f"no quantiles of {lacking[0]}{_more(lacking)}", STATS)

    def _are_there(self) -> bool:
        if self._dataset.version >= (3, 0) or (self._dataset.root / EPISODES_STATS).is_file():
            return True
        self._report.add("stats_missing", "there are no statistics of the episodes", EPISODES_STATS)
        return False

    def _find(self, index: int) -> Stats | None:
        """The statistics of one episode; those of others that come first are kept until they are asked for."""
        if index in self._waiting:
            return self._waiting.pop(index)
        for other, stats in self._recorded:
            if other == index:
                return stats
            self._waiting[other] = stats
        return None

    def _check(self, stats: Stats, moments: Mapping[str, Moments], file: PurePosixPath, episode: int | None) -> None:
        for key, feature in self._dataset.features.items():
            entry = stats.get(key)
            if feature.dtype in ("string", "language"):
                continue
            camera = key if feature.is_picture else None
            if entry is None:
                mild = Severity.WARNING if key in _COUNTERS else None
                self._report.add("stats_feature", f"none of {key}", file, episode=episode, camera=camera, severity=mild)
            elif wrong := _wrong(feature, entry, moments.get(key)):
                code, message = wrong[0], wrong[1] if camera else f"{key}: {wrong[1]}"
                mild = Severity.WARNING if key in _COUNTERS else None
                self._report.add(code, message, file, episode=episode, camera=camera, severity=mild)


def _wrong(feature: Feature, entry: object, moments: Moments | None) -> tuple[str, str] | None:
    if feature.is_picture:
        return _wrong_picture(entry, feature.shape[-1] if feature.is_depth and feature.shape else 3)
    if not isinstance(entry, dict) or not set(_MOMENTS) <= set(entry):
        return "stats_invalid", "min, max, mean and std are not all there"
    found = {name: _array(entry[name]) for name in _MOMENTS}
    if any(values.dtype.kind not in "fiub" for values in found.values()):
        return "stats_invalid", "not numbers"
    sizes = {values.size for values in found.values()}
    if feature.shape and sizes != {int(np.prod(feature.shape))}:
        return "stats_shape", f"of {max(sizes)} values, the feature has {int(np.prod(feature.shape))}"
    if not all(np.isfinite(values).all() for values in found.values()):
        return "stats_invalid", "not all are finite"
    if feature.key not in _COUNTERS and moments is not None:
        return _differs(found, moments)
    return None


def _differs(found: Mapping[str, Any], moments: Moments) -> tuple[str, str] | None:
    if not moments.count or moments.low.size != found["min"].size:
        return None
    scale = np.maximum(moments.high - moments.low, np.maximum(np.abs(moments.low), np.abs(moments.high)) * _CLOSE)
    for name, true in (("min", moments.low), ("max", moments.high), ("mean", moments.mean), ("std", moments.std)):
        off = np.abs(found[name].ravel().astype(np.float64) - true)
        if (off > scale * _CLOSE + 1e-6).any():
            place = int(np.argmax(off - scale * _CLOSE))
            written = found[name].ravel()[place]
            return "stats_wrong", f"{name} of value {place} is {written:.6g}, reckoned {true[place]:.6g}"
    return None


def _wrong_picture(entry: object, channels: int) -> tuple[str, str] | None:
    if not isinstance(entry, dict) or not set(_MOMENTS) <= set(entry):
        return "stats_invalid", "min, max, mean and std are not all there"
    found = {name: _array(entry[name]) for name in _MOMENTS}
    if any(values.shape != (channels, 1, 1) for values in found.values()):
        shape = next(values.shape for values in found.values() if values.shape != (channels, 1, 1))
        return "stats_shape", f"of shape {shape}, expected ({channels}, 1, 1)"
    if any(values.dtype.kind not in "fiub" or not np.isfinite(values).all() for values in found.values()):
        return "stats_invalid", "not all are finite numbers"
    low, high, mean, std = (found[name] for name in _MOMENTS)
    if ((std == 0) & (low < high)).any() or ((std < 1e-4).all() and ((high - low) > 0.1).all()):
        return "stats_overflow", "std is 0 over pictures that differ: the overflow of LeRobot 0.4.0 to 0.5.1"
    if channels == 3 and ((low < 0) | (high > 1 + 1e-6) | (mean < low - 1e-6) | (mean > high + 1e-6)).any():
        return "stats_invalid", "not in 0..1, or not in order"
    return None


def _array(value: object) -> Any:
    """As an array; lists of differing lengths become an array of objects."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.empty(0, object)


def _more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""
