"""Results in order, from one thread or from a few, with a bounded number of them waiting.

Two shapes, because the better one depends on how much else there is to do. A worker among as many others as there are
cores does everything in its own thread: 91 to 98 % of what the machine can do. One camera alone gets threads that
decode ahead while the encoder runs in parallel: 80 to 90 %.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

Result = TypeVar("Result")

DECODERS = 2  # a third thread gains nothing: the encoder is the slower side
WINDOW = 8  # frames decoded ahead; 4 to 32 are the same speed


def one_by_one(produce: Callable[[int], Result], count: int) -> Generator[Result]:
    """`produce(0)`, `produce(1)`, ... when each is asked for, in the caller's thread."""
    for index in range(count):
        yield produce(index)


def ahead(produce: Callable[[int], Result], count: int) -> Generator[Result]:
    """The same results in the same order, at most `WINDOW` of them made ahead by `DECODERS` threads.

    An error of `produce` surfaces at its own index. Closing the iterator drops what was not started and waits for the
    rest: no thread outlives it.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
    try:
        for index in range(count):
            waiting.append(pool.submit(produce, index))
            if len(waiting) >= WINDOW:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
