"""The rate at which a dataset was recorded, as its time stamps and videos have it, whatever info.json says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...formats.lerobot_table import opened
from .film import read as read_film

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def recorded_rate(root: Path, tables: Sequence[Path], videos: Sequence[Path]) -> int | float:
    """Frames per second, where time stamps and videos agree on it, or only one of them has any.

    The first of each is asked. Raises InputError: `cannot_rebuild`, and what the reading of either raises.
    """
    with opened(tables[0]) as parquet:
        named = "timestamp" in parquet.schema_arrow.names
        column = parquet.read(columns=["timestamp"], use_threads=False).column(0).to_numpy() if named else np.empty(0)
    rates = []
    if len(column) > 1 and (step := float(np.median(np.diff(column.astype(np.float64))))) > 0:
        rates.append(1 / step)
    if videos and len(times := read_film(videos[0]).times) > 1:
        rates.append((len(times) - 1) / float(times[-1] - times[0]))
    if not rates:
        raise cannot_rebuild(root, "neither time stamps nor videos tell the rate")
    if max(rates) - min(rates) > 0.01 * max(rates):
        raise cannot_rebuild(root, f"the time stamps say {rates[0]:.4g} frames per second, the videos {rates[1]:.4g}")
    rate = rates[-1]
    return round(rate) if abs(rate - round(rate)) < 1e-3 * rate else round(rate, 6)


def cannot_rebuild(path: Path, why: str) -> InputError:
    """The error of an info.json that the files do not tell."""
    return InputError("cannot_rebuild", f"{path}: {why}", "restore meta/info.json from where it was recorded")
