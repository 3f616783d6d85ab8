"""Frames of episodes that the metadata of a LeRobot dataset does not know: a session that was interrupted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from . import lerobot_frames as frames
from .lerobot_info import episode_id
from .signatures import Signature, signatures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

#: Orphans whose frames are counted again whenever they change; a dataset with more has other troubles.
_WATCHED: Final = 20


def find_orphans(
    root: Path, known: Collection[int], lacking: Callable[[int], str]
) -> tuple[tuple[tuple[str, str], ...], dict[str, Signature]]:
    """(episode id, why) of each episode of which only frames are there, and what to watch for a change of that.

    `known` are the indices of the dataset's episodes; `lacking(index)` says what keeps another from being one.
    Signatures are taken before the folders are read, so that what comes meanwhile is noticed.
    """
    signatures = signatures_of([str(root / "images")])
    cameras = frames.camera_folders(root)
    signatures |= signatures_of(cameras)
    folders: dict[int, list[str]] = {}
    for camera in cameras:
        for index, folder in frames.episodes_in(camera):
            if index not in known:
                folders.setdefault(index, []).append(folder)
    watched = [folder for index in sorted(folders)[:_WATCHED] for folder in folders[index]]
    signatures |= signatures_of(watched)
    found = {index: _frames_in(paths) for index, paths in sorted(folders.items())}
    return tuple(
        (episode_id(index), f"{what}, but {lacking(index)}: still arriving, or the recording was interrupted")
        for index, what in found.items()
        if what
    ), signatures


def _frames_in(folders: Sequence[str]) -> str:
    """In words; empty when the folders hold no frames."""
    counts = [(os.path.basename(os.path.dirname(folder)), frames.count_frames(folder)) for folder in folders]  # noqa: PTH119, PTH120
    return ", ".join(f"{count} frames of {camera}" for camera, count in counts if count)
