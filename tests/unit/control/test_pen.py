from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event

from penstock.control.pen import Pen
from penstock.store import pipelines
from penstock.store.paging import Window
from penstock.store.session import WriteSession
from tests.unit.control.conftest import House


def total(house: House) -> int:
    with house.here.db.read() as session:
        return pipelines.page(session, Window()).total


def test_each_gets_its_own_answer_and_many_share_a_commit(house: House) -> None:
    commits = []
    event.listen(house.here.db._engine, "commit", commits.append)

    def work(number: int) -> str:
        if number % 7 == 3:
            raise KeyError(number)
        return f"p{number}"

    async def write(number: int) -> str:
        def within(session: WriteSession) -> str:
            return pipelines.get_or_create(session, work(number), house.here.started).name

        return await house.here.pen.write(within)

    async def many() -> list[str | BaseException]:
        return await asyncio.gather(*(write(number) for number in range(100)), return_exceptions=True)

    for number, answer in enumerate(asyncio.run(many())):
        if number % 7 == 3:
            assert isinstance(answer, KeyError)
            assert answer.args == (number,)
        else:
            assert answer == f"p{number}"
    assert total(house) == 86
    assert len(commits) < 50


def test_it_comes_back_after_it_was_closed(house: House) -> None:
    pen = Pen(house.here.db)
    pen.close()
    for name in ("a", "b"):
        made = asyncio.run(pen.write(lambda session: pipelines.get_or_create(session, name, house.here.started)))  # noqa: B023 - called at once
        assert made.name == name
        pen.close()
    assert total(house) == 2


def test_what_was_handed_over_is_written_though_nobody_waits_any_more(house: House) -> None:
    async def leave() -> None:
        def work(session: WriteSession) -> None:
            pipelines.get_or_create(session, "kept", house.here.started)

        waiting = asyncio.create_task(house.here.pen.write(work))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    house.here.pen.close()
    assert total(house) == 1
