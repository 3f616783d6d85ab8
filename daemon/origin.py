"""What an episode was made of and with, in words that mean the same on every machine: results are known again by it.

Checkpoints know inputs by size and mtime, which is enough on one machine and means nothing on another. Here they are
known by content.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any, Final

from . import checkpoint, stages

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from episoded.processors.episode import Episode

    from .config import Pipeline

#: Stage -> version of its processor, digests of its settings and of its inputs. Equal: the same was made of the same.
Origin = dict[str, dict[str, Any]]

#: Recordings of cameras. Of a large one a part is read: hashing gigabytes would cost more than many a stage.
FILMS: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".svo", ".svo2"})
LARGE: Final = 8 << 20
#: The index of an MP4, at its beginning or its end, holds the size of every picture in it.
SAMPLE: Final = 1 << 20


def origin_of(episode: Episode, pipeline: Pipeline) -> Origin | None:
    """The origin of what the pipeline makes, or has made, of an episode; None when an input is gone.

    What earlier stages made is no input here: it follows from theirs.
    """
    origin: Origin = {}
    for stage in pipeline.stages:
        processor = stages.processor(stage)
        if not processor.applies(episode):
            continue
        params = pipeline.params[stage]
        read = {path for unit in processor.units(episode, params) for path in unit.inputs}
        inputs = _digest(path for path in read if not path.is_relative_to(episode.output))
        if inputs is None:
            return None
        origin[stage] = {
            "version": processor.version,
            "params": checkpoint.params_digest(params),
            "inputs": inputs,
        }
    return origin or None


def _digest(paths: Iterable[Path]) -> str | None:
    """Digest of files by name, size and content, wherever they lie and in whatever order; None when one is gone."""
    try:
        lines = sorted(f"{path.name}\0{_content(path)}\n" for path in paths)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def _content(path: Path) -> str:
    status = path.stat()
    return _content_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _content_of(path: Path, size: int, _mtime_ns: int) -> str:
    """Size and digest. Remembered: an index of calibrations is an input of every episode."""
    if size <= LARGE or path.suffix.lower() not in FILMS:
        return f"{size} {checkpoint.sha256(path)}"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for at in (0, (size - SAMPLE) // 2, size - SAMPLE):
            file.seek(at)
            digest.update(file.read(SAMPLE))
    return f"{size} {digest.hexdigest()}"
