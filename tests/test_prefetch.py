import threading

import pytest

from elmo_cli.prefetch import prefetch


def test_items_come_in_order_and_whole():
    assert list(prefetch(range(100), 3)) == list(range(100))
    assert list(prefetch([])) == []


def test_making_runs_ahead_of_reading_and_no_farther_than_the_depth():
    made: list[int] = []
    second = threading.Event()

    def numbers():
        for i in range(10):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    items = prefetch(numbers(), 1)
    assert next(items) == 0
    assert second.wait(10)  # made while nobody asked
    items.close()
    assert len(made) <= 4


def test_an_error_is_raised_where_the_item_would_have_come():
    def numbers():
        yield 1
        raise ValueError("two")

    items = prefetch(numbers(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_nothing_runs_on_when_reading_ends_early():
    before = threading.active_count()
    items = prefetch(iter(int, 1), 2)
    next(items)
    items.close()
    assert threading.active_count() == before
