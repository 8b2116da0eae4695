import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from elmo_cli.errors import CorpusError
from elmo_cli.inference.engines.pool import AHEAD, OrderedPool, TaskLostError, WorkerGoneError
from elmo_cli.inference.pipeline import Embedded
from elmo_cli.types import Sentence, Window


def numbered(n_windows: int) -> list[Window]:
    return [[Sentence(str(i), ["w"], "w")] for i in range(n_windows)]


def embed(window: Window) -> Embedded:
    time.sleep(0.002 if window[0].key == "0" else 0)
    return Embedded(window, [np.zeros((1, 1, 1), dtype=np.float32)])


class Worker:
    """A worker that calls a function."""

    def __init__(self, embed: Callable[[Window], Embedded], gone: Exception | None = None) -> None:
        self.embed = embed
        self.gone = gone

    def wait(self) -> None:
        if self.gone:
            raise self.gone


def pool_of(windows: Iterable[Window], calls: list[Callable[[Window], Embedded]]) -> OrderedPool:
    return pool_with(windows, list(map(Worker, calls)))


def pool_with(windows: Iterable[Window], workers: list[Worker]) -> OrderedPool:
    return OrderedPool(windows, workers, lambda worker, window: worker.embed(window))


def keys(pool: OrderedPool) -> list[str]:
    return [embedded.window[0].key for embedded in pool.results()]


@pytest.mark.parametrize("workers", [1, 3])
def test_windows_come_back_in_input_order(workers: int):
    assert keys(pool_of(numbered(20), [embed] * workers)) == list(map(str, range(20)))


def test_no_windows_are_no_windows():
    assert keys(pool_of([], [embed])) == []


def test_a_slow_first_window_does_not_make_the_others_pile_up():
    begun, go = [], threading.Event()

    def slow(window: Window) -> Embedded:
        begun.append(window[0].key)
        if window[0].key == "0":
            assert go.wait(10)
        return embed(window)

    pool = pool_of(numbered(50), [slow, slow])
    release = threading.Timer(0.2, lambda: (begun.append("released"), go.set()))
    release.start()
    assert keys(pool) == list(map(str, range(50)))
    assert begun.index("released") <= 2 * AHEAD


def test_an_error_takes_the_place_of_its_window():
    def failing(window: Window) -> Embedded:
        if window[0].key == "3":
            raise CorpusError("three")
        return embed(window)

    embedded = pool_of(numbered(20), [failing, failing]).results()
    assert [next(embedded).window[0].key for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(CorpusError, match="three"):
        next(embedded)


def test_an_error_of_the_reader_comes_after_the_windows_before_it():
    def read() -> Iterator[Window]:
        yield from numbered(2)
        raise CorpusError("line 3")

    embedded = pool_of(read(), [embed]).results()
    assert [next(embedded).window[0].key for _ in range(2)] == ["0", "1"]
    with pytest.raises(CorpusError, match="line 3"):
        next(embedded)


def test_a_worker_that_is_gone_leaves_the_windows_to_the_others():
    assert keys(pool_with(numbered(10), [Worker(embed, WorkerGoneError()), Worker(embed)])) == list(
        map(str, range(10))
    )


def test_an_error_of_a_worker_that_has_no_window_ends_the_run():
    with pytest.raises(CorpusError, match="no workers"):
        keys(pool_with(numbered(10), [Worker(embed, CorpusError("no workers"))]))


def test_the_tasks_that_workers_do_are_counted():
    seen = []

    def seeing(window: Window) -> Embedded:
        seen.append(pool.in_work)
        return embed(window)

    pool = pool_of(numbered(5), [seeing])
    assert keys(pool) == list(map(str, range(5)))
    assert (seen, pool.in_work) == ([1] * 5, 0)


def test_a_lost_window_is_done_again():
    lost = []

    def losing(window: Window) -> Embedded:
        if not lost:
            lost.append(window)
            raise TaskLostError
        return embed(window)

    assert keys(pool_of(numbered(10), [losing, embed])) == list(map(str, range(10)))
    assert len(lost) == 1


def test_threads_end_when_the_reader_of_the_results_does():
    before = threading.active_count()
    embedded = pool_of(numbered(50), [embed, embed]).results()
    next(embedded)
    embedded.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
