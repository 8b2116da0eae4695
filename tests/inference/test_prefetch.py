import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from elmo_cli.inference.prefetch import Prefetch


def test_items_come_in_order_and_whole():
    assert list(Prefetch(range(100), 3)) == list(range(100))
    items = Prefetch([])
    assert list(items) == []
    assert list(items) == []  # and it stays at its end


def test_making_runs_ahead_of_reading_and_no_farther_than_the_depth():
    made: list[int] = []
    second = threading.Event()

    def numbers() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    items = Prefetch(numbers(), 1)
    assert next(items) == 0
    assert second.wait(10)  # made while nobody asked
    items.stop()
    items.join()
    assert made == [0, 1]


def test_an_error_is_raised_where_the_item_would_have_come():
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    items = Prefetch(numbers(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_nothing_runs_on_when_reading_ends_early():
    before = threading.active_count()
    items = Prefetch(iter(int, 1), 2)
    next(items)
    items.stop()
    items.join()
    assert threading.active_count() == before


def test_one_that_waits_for_another_ends_with_it():
    never = threading.Event()

    def idle() -> Iterator[int]:
        yield 1
        never.wait(60)

    source = Prefetch(idle())
    doubled = Prefetch(2 * item for item in source)
    assert next(doubled) == 2
    source.stop()
    doubled.stop()
    doubled.join(10)
    assert not doubled._maker.is_alive()
    never.set()


def test_a_maker_that_cannot_report_its_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elmo_cli.inference.prefetch.PATIENCE", 0.01)

    class Full(SimpleQueue):
        def put(self, *item: object) -> None:
            if threading.current_thread().name == "prefetch":
                raise MemoryError
            super().put(*item)

    monkeypatch.setattr("elmo_cli.inference.prefetch.SimpleQueue", Full)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with pytest.raises(MemoryError):
        next(Prefetch(iter([1])))
