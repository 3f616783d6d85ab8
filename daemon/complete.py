"""When an upload is complete: three rules, one per drop folder, and one question they share - does it look whole.

marker  the uploader writes `.episoded/pending` (whole dataset) or `.episoded/<episode>/pending` last
rename  the dataset appears under its final name
quiet   the fingerprint of an episode's files has not changed for a while

A marker is believed only together with the files: rsync sends `.episoded/` before `images/`, so a marker inside the
tree arrives first. An episode that is marked but not whole is held until nothing has changed for `incomplete_s`; then
the chain gets it and says by name what is missing. Only our own monotonic clock is used: mtimes are set back by
`rsync -t` and `cp -p`, and other machines' clocks are wrong.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from episoded.processors.formats.base import Upload

    from .config import DropConfig


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an episode's upload is complete; if not, why, in words for `episoded status`.

    `again_s`: seconds after which the answer changes if nothing else does.
    """

    complete: bool
    reason: str = ""
    again_s: float = math.inf


@dataclass
class UploadTracker:
    """Remembers for each arriving episode since when its files have not changed."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[Hashable, tuple[tuple[int, int, int], float]] = field(default_factory=dict)

    def judge(self, key: Hashable, upload: Upload, rule: DropConfig, *, marked: bool) -> Verdict:
        """Decide by the drop folder's rule. `marked`: a marker of the uploader is there."""
        quiet_s = self._quiet_s(key, (upload.files, upload.bytes, upload.newest))
        if rule.complete == "marker" and not marked:
            return Verdict(False, "waiting for the uploader's marker")
        if upload.missing:
            left_s = rule.incomplete_s - quiet_s
            return Verdict(left_s <= 0, _still_missing(upload.missing), left_s)
        if rule.complete == "quiet" and not marked and quiet_s < rule.quiet_s:
            return Verdict(False, f"quiet for {quiet_s:.0f} of {rule.quiet_s:.0f} s", rule.quiet_s - quiet_s)
        return Verdict(True)

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget every episode but these."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}

    def _quiet_s(self, key: Hashable, fingerprint: tuple[int, int, int]) -> float:
        now = self.clock()
        last, since = self._seen.get(key, (None, now))
        if last != fingerprint:
            since = now
        self._seen[key] = (fingerprint, since)
        return now - since


def _still_missing(missing: tuple[str, ...]) -> str:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"not whole yet: {missing[0]}{more}"
