"""What can go wrong on the way to the Hub and back, as orders to tests/hub_server.py."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What happens to the requests whose `METHOD /path?query` matches `url`: the next `times`, after `skip` of them.

    status          this answer, with `headers` and `error` (also as X-Error-Message), instead of doing what was asked
    hang            no answer until the server stops
    drop_after      so many bytes of the body are read, then the connection is reset
    lose_response   what was asked is done, then the connection is closed without a word
    delay_s         what was asked is done, this much later
    """

    url: str
    times: int = 1
    skip: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    error: str = ""
    hang: bool = False
    drop_after: int | None = None
    lose_response: bool = False
    delay_s: float = 0.0

    def takes(self, request: str) -> bool:
        """Whether it befalls this request; counts."""
        if self.times <= 0 or not re.search(self.url, request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """The orders in force, the oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Put one in force."""
        with self._lock:
            self._orders.append(fault)
        return fault

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._orders.clear()

    def take(self, request: str) -> Fault | None:
        """The one that befalls this request, or None."""
        with self._lock:
            return next((fault for fault in self._orders if fault.takes(request)), None)
