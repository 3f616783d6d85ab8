"""Disk and memory: when to stop claiming, and when to go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .config import GuardConfig


def free_disk(path: Path) -> int:
    """Bytes free for us on the filesystem of `path`."""
    return int(psutil.disk_usage(str(path)).free)


def free_memory() -> int:
    """Bytes of memory that can be used without swapping."""
    return int(psutil.virtual_memory().available)


@dataclass
class Guard:
    """Stops claiming below the low-water mark of a filesystem, resumes above the high one.

    The gap keeps it from flapping: the frames of one finished episode free just enough to start the next.
    """

    config: GuardConfig
    disk: Callable[[Path], int] = free_disk
    memory: Callable[[], int] = free_memory
    _paused: set[int] = field(default_factory=set)

    def objection(self, root: Path) -> str | None:
        """Why nothing may be claimed on the filesystem of `root` now, or None. Raises OSError when it is gone."""
        return self._disk_objection(root) or self._memory_objection()

    def _disk_objection(self, root: Path) -> str | None:
        free, device = self.disk(root), root.stat().st_dev
        if free < self.config.disk_low:
            self._paused.add(device)
        elif free >= self.config.disk_high:
            self._paused.discard(device)
        if device in self._paused:
            return f"disk: {free / 1e9:.1f} GB free at {root}, claiming resumes at {self.config.disk_high / 1e9:.1f} GB"
        return None

    def _memory_objection(self) -> str | None:
        free = self.memory()
        if free < self.config.memory_low:
            return f"memory: {free / 1e6:.0f} MB available, {self.config.memory_low / 1e6:.0f} MB are needed to claim"
        return None
