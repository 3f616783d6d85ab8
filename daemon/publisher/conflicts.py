"""Whether what lies at a destination under our names may be replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from episoded.processors.destinations.base import SHA256

from ..control import ControlDir, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from episoded.processors.destinations.base import File, Remote

    from .batch import Batch
    from .settings import DestinationConfig


def foreign(batch: Batch, there: Mapping[str, Remote], config: DestinationConfig) -> list[Path]:
    """Episodes of the batch under whose names somebody else's content lies there. `there`: what `stat` told."""
    if config.on_conflict == "overwrite":
        return []
    return [
        path
        for path, (item, listed) in batch.entries.items()
        if any(
            file.target in there and not _was_ours(item.control, config.name, file, there[file.target])
            for file in listed.files
        )
    ]


def _was_ours(control: ControlDir, destination: str, file: File, remote: Remote) -> bool:
    """Whether an earlier receipt of this episode lists it: the episode was made again, and takes its own place.

    A digest of git's cannot be compared with a receipt; there the size has to do.
    """
    if remote.holds(file):
        return True
    told = remote.digest if remote.digest and remote.digest.startswith(SHA256) else None
    return any(
        (entry.get("target") or entry.get("path"), entry["size"]) == (file.target, remote.size)
        and told in (None, SHA256 + entry["sha256"])
        for known in _earlier(control, destination)
        for entry in known.get("files", ())
    )


def _earlier(control: ControlDir, destination: str) -> list[dict[str, Any]]:
    """The receipts of this episode, in force or not, and manifests that are no longer (a commit without an answer)."""
    receipts = [control.path / f"published.{destination}", *control.path.glob(f"published.{destination}.*")]
    paths = [*receipts, *control.path.glob(f"manifest.{destination}.*")]
    return [record for path in paths if (record := read_json(path))]
