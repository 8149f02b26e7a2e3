from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from penstock.store.turns import Turns


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)  # poll: another thread has to get there


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order, threads = Turns(), [], []
    assert turns.take(0)

    def work(number: int) -> None:
        assert turns.take(10)
        order.append(number)
        turns.give()

    for number in range(8):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        until(lambda: waiting(turns) == number + 1)  # noqa: B023 - called before the loop goes on
    turns.give()
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))
    assert turns.take(0)


def test_whoever_gives_up_is_out_of_the_queue() -> None:
    turns = Turns()
    assert turns.take(0)
    assert turns.take(0.01) is False
    assert waiting(turns) == 0
    turns.give()
    assert turns.take(0)


def test_a_turn_that_comes_while_giving_up_is_taken() -> None:
    turns = Turns()
    assert turns.take(0)
    # What `take` finds when its wait has just timed out: the gate is no longer in the queue.
    turns._guard = Handing(turns, turns._guard)
    assert turns.take(0.01) is True


class Handing:
    """A guard that gives the turn away just before a waiter looks whether it is still in the queue."""

    def __init__(self, turns: Turns, guard: threading.Lock) -> None:
        self.turns, self.guard, self.entered = turns, guard, 0

    def __enter__(self) -> None:
        self.entered += 1
        if self.entered == 2:
            self.turns._guard = self.guard
            self.turns.give()
        self.guard.acquire()

    def __exit__(self, *_: object) -> None:
        self.guard.release()


@pytest.mark.parametrize("threads", [12])
def test_one_at_a_time(threads: int) -> None:
    turns, inside, worst = Turns(), [0], [0]

    def work() -> None:
        for _ in range(200):
            assert turns.take(30)
            inside[0] += 1
            worst[0] = max(worst[0], inside[0])
            inside[0] -= 1
            turns.give()

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(30)
    assert worst == [1]
    assert turns.take(0)
