from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from penstock.client.client import Client
from penstock.errors import InvalidInput, NotFound
from penstock.fastapi import gate as module
from penstock.fastapi.bodies import RunView
from penstock.fastapi.gate import Gate
from penstock.model.run import Run, RunState

AT = datetime(2025, 1, 1, tzinfo=UTC)


def run(template: str | None, version: int | None, state: RunState = RunState.RUNNING) -> Run:
    return Run(
        id="r1",
        name="r",
        state=state,
        pipeline_id="p",
        pipeline_name="p",
        snapshot_id="s",
        template_id="t1",
        template_name=template,
        template_version=version,
        created=AT,
    )


class Runs:
    """Runs of which one is known; waiting for it lasts until `go` is set."""

    def __init__(self, known: Run) -> None:
        self.known = known
        self.go = threading.Event()

    def get(self, run_id: str) -> Run:
        return self.known

    def wait(self, run_id: str, timeout: float) -> Run:
        assert self.go.wait(60)
        return self.known


async def there() -> bool:
    """A caller who is still there."""
    return False


class Double:
    def __init__(self, known: Run) -> None:
        self.runs = Runs(known)


def gate(templates: Any, known: Run) -> tuple[Gate, Runs]:
    double = Double(known)
    return Gate(templates, cast("Client", double)), double.runs


@pytest.mark.parametrize(
    ("template", "version", "name"),
    [("train", 3, "old"), ("train", 4, "new"), ("other", 1, None), (None, None, None), ("score", 2, "score@v2")],
)
def test_a_run_is_seen_under_the_name_that_its_template_has_here(
    template: str | None, version: int | None, name: str | None
) -> None:
    offered = {"new": "train", "old": "train@v3", "score@v2": "score@v2"}
    asked = gate(offered, run(template, version))[0].run("r1")
    if name is None:
        with pytest.raises(NotFound, match="There is no run 'r1' here"):
            asyncio.run(asked)
    else:
        assert asyncio.run(asked).template == name


def test_other_versions_than_the_one_that_is_offered_are_not_there() -> None:
    with pytest.raises(NotFound):
        asyncio.run(gate(["train@v3"], run("train", 4))[0].run("r1"))


def test_a_template_may_be_offered_by_its_id() -> None:
    assert asyncio.run(gate({"train": "t1"}, run("renamed", 4))[0].run("r1")).template == "train"


@pytest.mark.parametrize("templates", ["train", [], {}, ["train@"], {"a/b": "train"}, {"": "train"}])
def test_what_offers_nothing_is_refused_at_once(templates: Any) -> None:
    with pytest.raises(InvalidInput):
        gate(templates, run("train", 1))


def test_who_comes_when_all_places_are_taken_is_answered_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS", 2)
    asked, runs = gate(["train"], run("train", 1))
    view = RunView.of("train", runs.known)

    async def scene() -> None:
        waiting = [asyncio.create_task(asked.ended(view, 60, there)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await asked.ended(view, 60, there) == (view, False)
        runs.known = run("train", 1, RunState.COMPLETED)
        runs.go.set()
        for one, granted in await asyncio.gather(*waiting):
            assert (one.state, granted) == (RunState.COMPLETED, True)
        assert (await asked.ended(view, 60, there))[1]

    asyncio.run(scene())


def test_a_run_that_has_ended_and_a_caller_who_does_not_wait_need_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS", 1)
    asked, runs = gate(["train"], run("train", 1))
    ended = RunView.of("train", run("train", 1, RunState.FAILED))
    running = RunView.of("train", runs.known)
    assert asyncio.run(asked.ended(ended, 5, there)) == (ended, True)
    assert asyncio.run(asked.ended(running, 0, there)) == (running, False)


def test_a_caller_who_hung_up_gives_back_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS", 1)
    asked, runs = gate(["train"], run("train", 1))
    view = RunView.of("train", runs.known)
    runs.go.set()  # each spell of waiting is over at once
    spells: list[str] = []

    async def gone() -> bool:
        spells.append("asked")
        return len(spells) > 2

    for _ in range(2):
        spells.clear()
        assert asyncio.run(asked.ended(view, 60, gone)) == (view, True)
        assert len(spells) == 3


def test_a_wait_that_is_called_off_gives_back_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS", 1)
    asked, runs = gate(["train"], run("train", 1))
    view = RunView.of("train", runs.known)

    async def scene() -> None:
        waiting = asyncio.create_task(asked.ended(view, 60, there))
        await asyncio.sleep(0)
        assert not (await asked.ended(view, 60, there))[1]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        runs.known = run("train", 1, RunState.COMPLETED)
        runs.go.set()
        assert (await asked.ended(view, 60, there))[1]

    asyncio.run(scene())
