"""Files that do not belong where they lie, and videos that lie elsewhere than they belong."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from .plan import Move, Retire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .mending import Mending
    from .plan import Change

_STRAYS: Final = frozenset({"data_stray", "table_stray", "parquet_stray", "video_stray"})


def mended(mending: Mending) -> Iterator[Change]:
    """Move videos to where info.json says, and strays out of the dataset's folders.

    A video of no episode stays while an episode lacks one of that camera: it may be that one.
    """
    dataset, findings, moved = mending.dataset, mending.findings, set()
    lacking = {finding.camera for finding in findings if finding.code == "video_missing"}
    for finding in findings:
        if finding.code == "video_misplaced" and finding.file is not None:
            source = PurePosixPath("video", *finding.file.parts[1:])
            moved.add(source)
            yield Move(source, finding.file, "where info.json says that it is")
    for finding in findings:
        stray = finding.file if finding.code in _STRAYS else None
        if stray is None or stray in moved or not (dataset.root / stray).is_file():
            continue
        if finding.code == "video_stray" and lacking & {*stray.parts}:
            mending.refuse(finding, "episodes lack a video of this camera: it may be one of theirs")
        else:
            yield Retire(stray, finding.message)
