"""An iterator that runs in a thread of its own, a bounded number of items ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Item = TypeVar("Item")

_LISTEN_S = 0.2  # between two looks at whether to stop


class Stopped(Exception):  # noqa: N818 - nothing failed: nobody wants the rest
    """Raised by `Background.check` in the thread, to leave the iterator in the middle of an item."""


class Background(Generic[Item]):
    """Runs `produce(check)` ahead; an iterator and a context manager.

    `check` is for the iterator to call now and then: it says that the iterator is alive, and raises `Stopped` once the
    rest is not wanted. What the iterator raises is raised where its next item is asked for. Leaving the context ends
    the thread and closes the iterator.
    """

    def __init__(self, produce: Callable[[Callable[[], None]], Iterator[Item]], waiting: int, name: str) -> None:
        self._produce = produce
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(waiting)
        self._stop = threading.Event()
        self._signs = 0  # of life: how often the iterator has called `check`
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def take(self, check: Callable[[], None] = lambda: None) -> Iterator[Item]:
        """The items; `check` is called while one is waited for, and may raise.

        It is called only as long as the iterator is alive: who waits for a device that hangs must not look busy.
        """
        seen = -1
        while True:
            if self._signs != seen:
                seen = self._signs
                check()
            try:
                what, value = self._queue.get(timeout=_LISTEN_S)
            except queue.Empty:
                continue
            if what == "end":
                return
            if what == "error":
                raise value
            yield value

    @property
    def ready(self) -> bool:
        """Whether what comes next is there already."""
        return not self._queue.empty()

    def close(self) -> None:
        """End the thread; waits until it has."""
        self._stop.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.02)

    def _check(self) -> None:
        self._signs += 1
        if self._stop.is_set():
            raise Stopped

    def _run(self) -> None:
        items = self._produce(self._check)
        try:
            for item in items:
                self._queue.put(("item", item))
                self._check()
            self._queue.put(("end", None))
        except Stopped:
            pass
        except BaseException as error:
            self._queue.put(("error", error))
        finally:
            if close := getattr(items, "close", None):
                close()
