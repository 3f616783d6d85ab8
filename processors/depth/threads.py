"""Torch on the cores of a CPU, so that how many there are changes nothing but the time.

An operation that torch divides among threads adds its numbers up in another order for each number of threads: the last
bits follow the load of the machine and OMP_NUM_THREADS. Here every operation has one thread, and several pieces of the
work (a frame, a band of rows), cut the same way whoever takes them, are computed at once.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Each holds what becomes of a frame: of the small model at 518 pixels, 200 MB.
MOST = 16


class Each(Protocol):
    """A way to do the pieces of some work: `in_turn`, or the `map` of `Threads`."""

    def __call__(
        self, do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None] = ..., /
    ) -> list[Result]:
        """`do` of each item, in order. `check` is called before each, and may raise to stop."""


class Threads:
    """Computes up to `count` pieces of work at once, each operation of torch with one thread."""

    def __init__(self, count: int = 1) -> None:
        self.count = max(1, min(count, MOST))
        # One thread is the caller's own. Those of the pool start with the first work, and end with the process.
        self._pool = ThreadPoolExecutor(self.count, "torch", _settle) if self.count > 1 else None

    def map(
        self, do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None] = lambda: None
    ) -> list[Result]:
        """`do` of each item, in order. `check` is called before each, and may raise to stop."""
        with one_thread():
            if self._pool is None:
                return in_turn(do, items, check)
            return list(self._ahead(self._pool, do, items, check))

    def _ahead(
        self, pool: ThreadPoolExecutor, do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None]
    ) -> Iterator[Result]:
        """Few pieces wait: the items may be pictures, which are large."""
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                check()
                if len(waiting) > self.count:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(do, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations of torch that are called here, in this thread, have one thread each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_turn(
    do: Callable[[Item], Result], items: Iterable[Item], check: Callable[[], None] = lambda: None
) -> list[Result]:
    """`do` of each item, one after another; `check` is called before each, and may raise to stop."""
    found = []
    for item in items:
        check()
        found.append(do(item))
    return found


def _settle() -> None:
    """Give this thread's operations one thread for good.

    The number is each thread's own. Torch takes the process's for it at the first call of a thread, whichever that is,
    so a first call comes before.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
