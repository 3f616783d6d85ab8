"""One thing done to each item in a thread of its own, in order, with a bounded number waiting."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

Item = TypeVar("Item")

_LISTEN_S = 0.2  # between two looks at whether to stop


class Signs:
    """Signs of life of threads that wait for one another: as long as one of them is at work, all are alive."""

    def __init__(self) -> None:
        self.count = 0

    def give(self) -> None:
        """Say that something was done."""
        self.count += 1  # two at once may count as one: that it changes is all that matters


class InOrder(Generic[Item]):
    """A context manager: left normally, everything is done; left by an exception, only what is in hand is.

    `signs`: one is given for each item that is done.
    """

    def __init__(self, do: Callable[[Item], None], waiting: int, name: str, signs: Signs | None = None) -> None:
        self.signs = signs or Signs()
        self._do = do
        self._most = waiting
        self._thread = ThreadPoolExecutor(1, name)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        while kind is None and self._waiting:
            self._waiting.popleft().result()

    def put(self, item: Item, check: Callable[[], None] = lambda: None) -> None:
        """Queue an item; raises what an earlier one raised.

        `check` is called while there is no room, as long as there are signs of life, and may raise: who waits for a
        disk that hangs must not look busy.
        """
        while len(self._waiting) >= self._most:
            self._wait(check)
        self._waiting.append(self._thread.submit(self._done, item))

    def finish(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait until everything is done; raises what an item raised. `check` as for `put`."""
        while self._waiting:
            self._wait(check)

    def _wait(self, check: Callable[[], None]) -> None:
        """For the oldest item."""
        seen, oldest = self.signs.count, self._waiting[0]
        while True:
            try:
                oldest.result(_LISTEN_S)
            except TimeoutError:
                if oldest.done():
                    raise  # its own
                if self.signs.count != seen:
                    seen = self.signs.count
                    check()
                continue
            self._waiting.popleft()
            return

    def _done(self, item: Item) -> None:
        self._do(item)
        self.signs.give()
