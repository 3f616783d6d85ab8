"""Findings about the statistics, with which policies normalise."""

from __future__ import annotations

from typing import Final

from .kind import HUB, REPAIR, Kind

_NORMALISE = "opens; policies normalise with wrong numbers, and learn from distorted data"

_BLOWN_UP = "opens; pictures are divided by 0, unless the training takes ImageNet's statistics instead (its default)"

STATS: Final = {
    "stats_missing": Kind(
        "error", HUB, "opens; training fails where the policy wants to normalise", REPAIR, repairable=True
    ),
    "stats_episode": Kind(
        "warning",
        "opens; the statistics of the dataset are reckoned without this episode",
        "opens; the statistics of the dataset cannot be reckoned anew from its episodes'",
        REPAIR,
        repairable=True,
    ),
    "stats_feature": Kind(
        "error",
        "opens; training fails with KeyError where the policy wants to normalise",
        "opens; training fails with KeyError where the policy wants to normalise",
        REPAIR,
        repairable=True,
    ),
    "stats_shape": Kind(
        "error",
        "opening fails: pictures must have numbers of shape (3, 1, 1)",
        "opens; normalising fails or multiplies along the wrong axis",
        REPAIR,
        repairable=True,
    ),
    "stats_overflow": Kind(
        "warning",
        _BLOWN_UP,
        _BLOWN_UP,
        REPAIR,
        repairable=True,
    ),
    "stats_invalid": Kind("error", _NORMALISE, _NORMALISE, REPAIR, repairable=True),
    "stats_wrong": Kind("warning", _NORMALISE, _NORMALISE, REPAIR, repairable=True),
    "stats_quantiles": Kind(
        "note",
        "",
        "policies that normalise by quantiles (pi0.5) refuse the dataset",
        REPAIR,
        repairable=True,
    ),
}
