"""What is known of all findings with one code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """`severity`: error, warning or note. `v2`, `v3`: what LeRobot 0.3.3 and 0.4.4 make of it, "" where it cannot be.

    `remedy`: what to do about it. `repairable`: `episoded repair` can do it.
    """

    severity: str
    v2: str
    v3: str
    remedy: str
    repairable: bool = False


#: What LeRobot does when a file is not where the metadata says: it believes that the rest lies on the Hub.
HUB: Final = "opening asks the Hugging Face Hub for the rest and fails there with a misleading 404 or network error"
#: What `remedy` says where the repair command is the remedy.
REPAIR: Final = "episoded repair"
RESTORE: Final = "restore the file from where it was recorded or uploaded"
