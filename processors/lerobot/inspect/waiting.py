"""PNG frames below `images/`: waiting to be encoded, left over, or of nobody."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...formats import lerobot_frames as frames

if TYPE_CHECKING:
    from ..dataset import Dataset
    from ..findings import Problems


def check_frames(dataset: Dataset, report: Problems, *, listed: bool) -> set[tuple[str, int]]:
    """Report the frames below `images/`; returns (camera, episode) of those whose video is not there yet.

    `listed`: there is a list of episodes. A v3.0 recorder that was killed has written none, and its episodes are not
    lost: they are finished from their rows and frames.
    """
    known = {entry.index: entry for entry in dataset.episodes}
    cameras = {name: key for key in dataset.features for name in frames.folder_names(key, [*dataset.features])}
    waiting: set[tuple[str, int]] = set()
    left = 0
    for folder in frames.camera_folders(dataset.root):
        key = cameras.get(Path(folder).name, Path(folder).name)
        for index, path in frames.episodes_in(folder):
            count = frames.count_frames(path)
            if not count:
                continue
            entry, place = known.get(index), PurePosixPath(Path(path).relative_to(dataset.root))
            if entry is None and not listed and dataset.version >= (3, 0):
                message = f"{count} frames wait to be encoded, and the list of episodes was never written"
                report.add("frames_unencoded", message, place, episode=index, camera=key)
                continue
            if entry is None:
                report.add("frames_orphaned", f"{count} frames of an episode that is not listed", place, episode=index)
                continue
            span = entry.videos.get(key)
            feature = dataset.features.get(key)
            if feature is not None and (not feature.is_video or (span and (dataset.root / span.file).is_file())):
                left += count
            elif feature is not None:
                waiting.add((key, index))
                message = f"{count} frames wait to be encoded"
                report.add("frames_unencoded", message, place, episode=index, camera=key)
    if left:
        report.add("frames_left", f"{left} frames beside what was made of them", PurePosixPath("images"))
    return waiting
