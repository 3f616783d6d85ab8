"""Every kind of finding: how bad it is, what LeRobot makes of it, and what mends it.

What LeRobot does is said of 0.3.3, the last that reads v2.x, and of 0.4.4 for v3.0. `tests/test_verify_lerobot.py`
holds these words against LeRobot itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .files import FILES
from .kind import Kind
from .meta import META
from .rows import ROWS
from .stats import STATS
from .video import VIDEO

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CATALOGUE", "Kind"]

#: Code -> what is known of it, in the order of docs/verify.md.
CATALOGUE: Final[Mapping[str, Kind]] = {**FILES, **META, **ROWS, **VIDEO, **STATS}
