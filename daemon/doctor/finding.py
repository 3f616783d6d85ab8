"""What a check reports."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `what` it is about, in words what was found, and what to do about it."""

    level: Level
    what: str
    found: str
    remedy: str = ""


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
