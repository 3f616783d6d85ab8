"""Dataset layouts, and which of them a folder is.

Cheap to import: a status command lists datasets without libav, numpy or pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .droid import Droid
from .lerobot import LeRobot
from .lerobot_v3 import LeRobotV3
from .names import is_ignored, is_video
from .video import Video

if TYPE_CHECKING:
    from pathlib import Path

    from .base import Format

__all__ = ["FORMATS", "LEROBOT", "LEROBOT_V3", "by_name", "detect", "is_ignored", "is_video"]

LEROBOT: Final = LeRobot()
LEROBOT_V3: Final = LeRobotV3()
#: Every layout, in the order in which they are tried.
FORMATS: Final[tuple[Format, ...]] = (LEROBOT_V3, LEROBOT, Droid(), Video())


def detect(root: Path) -> Format | None:
    """The layout of the dataset at `root`, or None when there is none."""
    return next((layout for layout in FORMATS if layout.detect(root)), None)


def by_name(name: str) -> Format:
    """The layout called `name`. Raises KeyError for a name that is none."""
    for layout in FORMATS:
        if layout.name == name:
            return layout
    raise KeyError(name)
