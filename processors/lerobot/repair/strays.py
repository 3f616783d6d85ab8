"""Files that do not belong where they lie, and videos that lie elsewhere than they belong."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from .plan import Move, Retire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..dataset import Dataset
    from ..findings import Finding
    from .plan import Change

_STRAYS: Final = frozenset({"data_stray", "table_stray", "parquet_stray", "video_stray"})


def mended(dataset: Dataset, findings: tuple[Finding, ...]) -> Iterator[Change]:
    """Move videos to where info.json says, and strays out of the dataset's folders."""
    moved = set()
    for finding in findings:
        if finding.code == "video_misplaced" and finding.file is not None:
            source = PurePosixPath("video", *finding.file.parts[1:])
            moved.add(source)
            yield Move(source, finding.file, "where info.json says that it is")
    for finding in findings:
        stray = finding.file if finding.code in _STRAYS else None
        if stray is not None and stray not in moved and (dataset.root / stray).is_file():
            yield Retire(stray, finding.message)
