"""Work ahead in a thread: in order, bounded, ended whenever nobody wants the rest."""

import threading
from collections.abc import Callable, Iterator

import pytest

from episoded.processors.depth.background import Background


def running() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def counting(made: list[int], stop: int = 1000) -> Callable[[object], Iterator[int]]:
    def produce(_: object) -> Iterator[int]:
        for number in range(stop):
            made.append(number)
            yield number

    return produce


def test_items_come_in_order_and_then_the_end() -> None:
    with Background(counting([], 50), 3, "ahead") as background:
        assert list(background.take()) == list(range(50))


def test_no_more_than_asked_for_wait() -> None:
    made: list[int] = []
    with Background(counting(made), 3, "ahead") as background:
        items = background.take()
        assert [next(items) for _ in range(10)] == list(range(10))
        assert max(made) <= 10 + 3 + 1
    assert running() == 0


def test_an_error_comes_where_its_item_would_have() -> None:
    def produce(_: object) -> Iterator[int]:
        yield 1
        raise LookupError("no second")

    with Background(produce, 3, "ahead") as background:
        items = background.take()
        assert next(items) == 1
        with pytest.raises(LookupError, match="no second"):
            next(items)


def test_leaving_stops_it_in_the_middle_of_an_item() -> None:
    closed, begun = threading.Event(), threading.Event()

    def produce(check: Callable[[], None]) -> Iterator[int]:
        try:
            begun.set()
            while True:  # an item that is never finished
                check()
            yield 0
        finally:
            closed.set()

    with Background(produce, 1, "ahead"):
        begun.wait()
    assert closed.is_set()
    assert running() == 0


def test_who_waits_may_be_told_to_stop() -> None:
    def produce(check: Callable[[], None]) -> Iterator[int]:
        while True:
            check()
        yield 0

    class EnoughError(Exception):
        pass

    asked = iter([None, None, EnoughError()])

    def check() -> None:
        if error := next(asked):
            raise error

    with pytest.raises(EnoughError), Background(produce, 1, "ahead") as background:
        next(background.take(check))
    assert running() == 0


def test_who_waits_for_something_that_hangs_does_not_look_busy() -> None:
    goes_on, calls = threading.Event(), []

    def produce(check: Callable[[], None]) -> Iterator[int]:
        check()
        goes_on.wait()
        yield 1

    with Background(produce, 1, "ahead") as background:
        threading.Timer(1.1, goes_on.set).start()  # several looks long
        assert list(background.take(lambda: calls.append(None))) == [1]
    assert len(calls) <= 4  # at first, for the one sign, for the item, for the end
