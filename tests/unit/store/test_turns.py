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


def waiting(turns: Turns[str]) -> int:
    return len(turns._waiting)


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order, threads = Turns[str](), [], []
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
    turns = Turns[str]()
    assert turns.take(0)
    assert turns.take(0.01) is None
    assert waiting(turns) == 0
    turns.give()
    assert turns.take(0)


def test_a_turn_that_comes_while_giving_up_is_taken() -> None:
    turns = Turns[str]()
    assert turns.take(0)
    # What `take` finds when its wait has just timed out: the gate is no longer in the queue.
    turns._guard = Handing(turns, turns._guard)
    assert turns.take(0.01) is not None


class Handing:
    """A guard that gives the turn away just before a waiter looks whether it is still in the queue."""

    def __init__(self, turns: Turns[str], guard: threading.Lock) -> None:
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
    turns, inside, worst = Turns[str](), [0], [0]

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


def test_what_is_left_open_goes_to_the_next_who_is_not_for_itself() -> None:
    turns, found = Turns[str](), []

    def work(alone: bool) -> None:
        turn = turns.take(10, alone=alone)
        assert turn is not None
        found.append((alone, turn.left))
        turns.give()

    first = turns.take(0)
    assert first is not None
    assert first.left is None
    assert turns.leave("nobody waits") is False
    threads = [threading.Thread(target=work, args=(alone,)) for alone in (False, True)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda: waiting(turns) == number)  # noqa: B023 - called before the loop goes on
    assert turns.leave("open") is True
    for thread in threads:
        thread.join(10)
    assert found == [(False, "open"), (True, None)]


def test_nothing_is_left_open_for_one_who_wants_to_be_alone() -> None:
    turns = Turns[str]()
    assert turns.take(0)
    thread = threading.Thread(target=lambda: turns.take(10, alone=True) and turns.give())
    thread.start()
    until(lambda: waiting(turns) == 1)
    assert turns.leave("open") is False
    turns.give()
    thread.join(10)
    assert turns.take(0)
