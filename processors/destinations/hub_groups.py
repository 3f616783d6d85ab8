"""Which files go to a Hub together, so that bytes move while other files are hashed or wait for the server's word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .base import File

#: Files and bytes that are sent together, at least one file; progress is told of each group as it ends.
FILES_IN_GROUP: Final = 64
BYTES_IN_GROUP: Final = 64 << 20
#: Groups under way at a time. The client sends up to five files of each at once.
GROUPS_IN_FLIGHT: Final = 3


def once_each(files: Sequence[File]) -> Iterator[list[File]]:
    """First one file of each content, then the others: of two under way at a time the server would have neither yet."""
    first = {file.sha256: file for file in reversed(files)}
    yield [file for file in files if first[file.sha256] is file]
    yield [file for file in files if first[file.sha256] is not file]


def in_groups(files: Sequence[File]) -> Iterator[list[File]]:
    """The files in order, as many together as one group may hold."""
    group: list[File] = []
    size = 0
    for file in files:
        if group and (len(group) == FILES_IN_GROUP or size + file.size > BYTES_IN_GROUP):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
