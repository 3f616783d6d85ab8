"""Parts of a configuration that do not fit together, each of which is right by itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from .mistakes import Mistake
    from .publisher.settings import DestinationConfig


def unknown_pipelines(names: Mapping[int, str], pipelines: Collection[str]) -> Iterator[Mistake]:
    """`names`: the pipeline of each drop folder, by its number."""
    for number, name in names.items():
        if name not in pipelines:
            yield f"drop.{number}.pipeline", f"there is no pipeline {name!r}; there are {', '.join(pipelines)}"


def unknown_destinations(sends: Mapping[str, Iterable[str]], known: Collection[str]) -> Iterator[Mistake]:
    """`sends`: the destinations of each pipeline."""
    for pipeline, names in sends.items():
        for name in names:
            if name not in known:
                there = f"there are {', '.join(known)}" if known else "there is no [destinations.NAME] table"
                yield f"pipelines.{pipeline}.destinations", f"there is no destination {name!r}; {there}"


def fed_back(destinations: Iterable[DestinationConfig], roots: list[Path]) -> Iterator[Mistake]:
    """What was published into a drop folder would be found there, and published once more."""
    for destination in destinations:
        if destination.kind == "folder":
            place = Path(destination.params.template.partition("{")[0]).resolve()
            for root in roots:
                if place.is_relative_to(root.resolve()):
                    yield f"destinations.{destination.name}.path", f"lies inside {root}: what is published stands apart"


def nested(roots: list[Path]) -> Iterator[Mistake]:
    """Two roots, one inside the other, would find (and finish) the same episodes twice."""
    resolved = sorted(((root.resolve(), root) for root in roots), key=lambda pair: pair[0].parts)
    for (outer, outer_name), (inner, inner_name) in itertools.pairwise(resolved):
        if outer == inner or outer in inner.parents:
            yield (
                "drop",
                f"{inner_name} lies inside {outer_name}: drop and output folders stand apart, each once",
            )
