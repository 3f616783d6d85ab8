"""The video files that a dataset's metadata names, and what each of them showed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..findings import Problems

if TYPE_CHECKING:
    from collections.abc import Set
    from pathlib import Path, PurePosixPath

    from ...media.video import VideoInfo
    from ..dataset import Dataset, EpisodeEntry, Feature, VideoSpan
    from ..findings import Finding


@dataclass(frozen=True, slots=True)
class Reel:
    """One video file of one camera, and the episodes that it holds by the metadata, in the order of their starts."""

    camera: Feature
    file: PurePosixPath
    parts: tuple[tuple[EpisodeEntry, VideoSpan], ...]


@dataclass(slots=True)
class Viewed:
    """What one reel showed. `stats`: of each episode's pictures, only where all were decoded."""

    reel: Reel
    findings: list[Finding] = field(default_factory=list)
    about: VideoInfo | None = None
    pictures: int = 0
    stats: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, root: Path, code: str, message: str, episode: int | None = None) -> None:
        """Report a finding about this file."""
        if episode is None and len(self.reel.parts) == 1:
            episode = self.reel.parts[0][0].index
        Problems(root, self.findings).add(code, message, self.reel.file, episode=episode, camera=self.reel.camera.key)


def reels(dataset: Dataset, only: Set[int] | None) -> list[Reel]:
    """The files of each camera; `only`: those with any of these episodes."""
    found = []
    for camera in dataset.cameras:
        files: dict[PurePosixPath, list[tuple[EpisodeEntry, VideoSpan]]] = {}
        for entry in dataset.episodes:
            if (span := entry.videos.get(camera.key)) is not None and entry.length:
                files.setdefault(span.file, []).append((entry, span))
        for file, parts in files.items():
            if only is None or any(entry.index in only for entry, _ in parts):
                found.append(Reel(camera, file, tuple(sorted(parts, key=lambda part: part[1].start_s))))
    return found
