"""Threads that carry out requests: as many as are needed, none more than may be, and nothing that was taken is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.errors import Unavailable
from penstock.serve.hands import Hands


@asynccontextmanager
async def hands(most: int) -> AsyncIterator[Hands[str]]:
    """Hands that are gone afterwards."""
    made = Hands[str](most, "test", asyncio.get_running_loop())
    try:
        yield made
    finally:
        made.leave()
        await asyncio.to_thread(made.join)


def taken_in(by: Hands[str], work: threading.Event) -> asyncio.Future[str]:
    """Work that ends with its event and returns the name of its thread."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def carried_out() -> str:
        assert work.wait(60)
        return threading.current_thread().name

    by.carry_out(carried_out, answer.set_result)
    return answer


def test_work_ends_on_the_loop_and_one_thread_is_enough_for_one_after_the_other() -> None:
    async def tried() -> None:
        done = threading.Event()
        done.set()
        async with hands(4) as made:
            told = {await taken_in(made, done) for _ in range(20)}
        assert told == {"test-0"}

    asyncio.run(tried())


def test_no_more_threads_than_there_may_be_and_the_rest_waits_its_turn() -> None:
    async def tried() -> None:
        goes_on = threading.Event()
        async with hands(3) as made:
            assert made.waiting == -3
            answers = [taken_in(made, goes_on) for _ in range(10)]
            assert made.waiting == 7
            goes_on.set()
            told = await asyncio.gather(*answers)
            assert made.waiting == -3
        assert set(told) <= {"test-0", "test-1", "test-2"}

    asyncio.run(tried())


def test_what_was_taken_is_done_before_they_are_gone_and_nothing_is_taken_after_that() -> None:
    async def tried() -> None:
        goes_on = threading.Event()
        made = Hands[str](1, "test", asyncio.get_running_loop())
        answers = [taken_in(made, goes_on) for _ in range(5)]
        made.leave()
        with pytest.raises(Unavailable):
            taken_in(made, goes_on)
        goes_on.set()
        await asyncio.to_thread(made.join)
        assert await asyncio.gather(*answers) == ["test-0"] * 5

    asyncio.run(tried())


def test_a_thread_survives_work_that_raises_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def tried() -> None:
        done = threading.Event()
        done.set()

        def broken() -> str:
            raise KeyboardInterrupt

        async with hands(1) as made:
            made.carry_out(broken, lambda _: None)
            assert await taken_in(made, done) == "test-0"
            assert made.waiting == -1

    with caplog.at_level(logging.ERROR):
        asyncio.run(tried())
    assert "a thread that carries out requests" in caplog.text


def test_work_that_never_ends_keeps_no_process() -> None:
    async def tried() -> None:
        made = Hands[str](1, "test-stuck", asyncio.get_running_loop())
        never = threading.Event()
        taken_in(made, never)
        (thread,) = (one for one in threading.enumerate() if one.name == "test-stuck-0")
        assert thread.daemon
        never.set()
        made.leave()
        await asyncio.to_thread(made.join)

    asyncio.run(tried())


def test_where_no_more_threads_can_be_made_those_that_are_there_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried() -> None:
        goes_on = threading.Event()

        def exhausted(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async with hands(3) as made:
            with monkeypatch.context() as machine:
                machine.setattr(threading.Thread, "start", exhausted)
                with pytest.raises(Unavailable, match="no thread"):
                    taken_in(made, goes_on)
            assert made.waiting == -3
            answers = [taken_in(made, goes_on)]
            with monkeypatch.context() as machine:
                machine.setattr(threading.Thread, "start", exhausted)
                answers.append(taken_in(made, goes_on))
            goes_on.set()
            assert await asyncio.gather(*answers) == ["test-0"] * 2

    asyncio.run(tried())
