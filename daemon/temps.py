"""Names of temporary files, which tell whether their maker is still alive."""

from __future__ import annotations

import functools
import os
import secrets
from typing import Final

from .identity import pid_scope, process_started

PREFIX: Final = ".t-"


def new_name() -> str:
    """A name that nobody else uses: boot and pid namespace, pid and start time of this process, a random part."""
    pid = os.getpid()
    return f"{PREFIX}{pid_scope()}-{pid}-{_started(pid)}-{secrets.token_hex(4)}"


def is_orphan(name: str) -> bool:
    """Whether the maker of a temporary file is dead.

    A prototype that swept every one of them broke the link of another claimer, whose file it had removed. Makers on
    other machines and in other containers cannot be judged from here: theirs are no orphans.
    """
    maker = name.removeprefix(PREFIX).split("-")
    return len(maker) == 4 and maker[0] == pid_scope() and process_started(int(maker[1])) != int(maker[2])


@functools.cache
def _started(pid: int) -> int:
    return process_started(pid) or 0
