"""Which files the episodes of a dataset become, in either version.

A plan for more episodes begins like the plan for fewer: what was made stays as it is, except for the last file of each
kind, which may take further episodes in.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...formats.lerobot_templates import DEFAULT_TEMPLATES, fill
from ..v30.layout import CHUNKS_SIZE, DATA_FILE_MB, DATA_PATH, V30, VIDEO_FILE_MB, VIDEO_PATH, FileIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import PurePosixPath

    from .examine import Examined

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Product:
    """One file to be made: rows, or with a `key` the video of that camera, of `episodes` in order.

    `at`: its number in v3.0. `target`: its path, relative to the dataset.
    """

    target: PurePosixPath
    key: str
    at: FileIndex
    episodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a file of rows and one of video may become before the next is begun, in bytes; and files in a chunk."""

    data: int = DATA_FILE_MB * MIB
    video: int = VIDEO_FILE_MB * MIB
    chunks_size: int = CHUNKS_SIZE


def products(version: str, episodes: Sequence[Examined], cameras: Sequence[str], sizes: Sizes) -> list[Product]:
    """The files of a dataset of `version` that holds the episodes, in index order from 0."""
    if version != V30:
        return list(_one_each(episodes, cameras, sizes.chunks_size))
    made = list(_rows(episodes, sizes))
    for key in cameras:
        made += _videos(episodes, key, sizes)
    return made


def changes_of_encoding(episodes: Sequence[Examined], cameras: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(camera, episode) where a camera's video has other parameter sets than the episode before: a new file begins."""
    for key in cameras:
        for before, after in itertools.pairwise(episodes):
            if before.parts[key].headers != after.parts[key].headers:
                yield key, after.index


def _rows(episodes: Sequence[Examined], sizes: Sizes) -> Iterator[Product]:
    grouped = _grouped(episodes, sizes.data, lambda one: one.table_bytes, lambda _: None)
    for at, group in _numbered(grouped, sizes):
        yield Product(at.path(DATA_PATH), "", at, group)


def _videos(episodes: Sequence[Examined], key: str, sizes: Sizes) -> Iterator[Product]:
    """A file of one camera; one whose parameter sets change cannot be decoded, so another begins there."""
    size, kind = (lambda one: one.parts[key].bytes), (lambda one: one.parts[key].headers)
    for at, group in _numbered(_grouped(episodes, sizes.video, size, kind), sizes):
        yield Product(at.path(VIDEO_PATH, key), key, at, group)


def _grouped(
    episodes: Sequence[Examined], limit: int, size: Callable[[Examined], int], kind: Callable[[Examined], Any]
) -> Iterator[tuple[int, ...]]:
    """Neighbours of one kind, as many as stay below the limit; at least one."""
    group: list[Examined] = []
    total = 0
    for episode in episodes:
        if group and (total + size(episode) >= limit or kind(episode) != kind(group[0])):
            yield tuple(one.index for one in group)
            group, total = [], 0
        group.append(episode)
        total += size(episode)
    if group:
        yield tuple(one.index for one in group)


def _numbered(groups: Iterator[tuple[int, ...]], sizes: Sizes) -> Iterator[tuple[FileIndex, tuple[int, ...]]]:
    at = FileIndex()
    for group in groups:
        yield at, group
        at = at.following(sizes.chunks_size)


def _one_each(episodes: Sequence[Examined], cameras: Sequence[str], chunks_size: int) -> Iterator[Product]:
    """v2.1: one table and one video a camera for each episode."""
    for episode in episodes:
        index = episode.index
        for key, template in (("", "data_path"), *((camera, "video_path") for camera in cameras)):
            path = fill(DEFAULT_TEMPLATES[template], index, index // chunks_size, key)
            yield Product(path, key, FileIndex(index // chunks_size, index), (index,))


def places(made: Sequence[Product]) -> Mapping[tuple[str, int], tuple[Product, int]]:
    """(camera key, or "" for rows; episode) -> the file it is in, and its position among the file's episodes."""
    return {
        (product.key, episode): (product, position)
        for product in made
        for position, episode in enumerate(product.episodes)
    }
