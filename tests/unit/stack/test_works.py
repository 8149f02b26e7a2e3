"""What a deployer does behind its answers: one thing at a time for a deployment, until it is done, failed or unwanted."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from penstock.errors import EnvironmentFailed, Unavailable
from penstock.model.deployment import Plan
from penstock.model.snapshot import Content, Environment, Snapshot
from penstock.stack import works as module
from penstock.stack.works import Work, Works
from tests.launching import eventually

CONTENT = Content(pipeline="p", source="p:p", environment=Environment(python="3.11"))
SNAPSHOT = Snapshot(id="s", pipeline_id="p", content=CONTENT, created=datetime(2026, 1, 1, tzinfo=UTC))
PLAN = Plan(deployment_id="d", deployment_name="d", snapshot=SNAPSHOT, home="/home")


@pytest.fixture
def works() -> Works:
    return Works("test")


def test_what_is_wanted_now_ends_what_was_wanted_before_and_waits_for_its_end(works: Works) -> None:
    seen: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def first(_: str, work: Work) -> None:
        begun.set()
        assert go_on.wait(10)
        work.say("a line")  # raises: something else is wanted
        seen.append("first")

    works.begin("d", PLAN, first)
    assert begun.wait(10)
    works.begin("d", PLAN, lambda *_: seen.append("second"))
    assert seen == []
    go_on.set()
    eventually(lambda: works.get("d") is None)
    assert seen == ["second"]


def test_a_failure_stays_until_something_else_is_wanted(works: Works) -> None:
    def fail(*_: object) -> None:
        raise EnvironmentFailed("It could not be built.", lines=["pip said", "no"])

    works.begin("d", PLAN, fail)
    work = works.get("d")
    assert work is not None
    assert work.ended.wait(10)
    assert (work.error, works.get("d")) == ("It could not be built.\npip said\nno", work)
    works.forget("d")
    assert works.get("d") is None
    works.begin("d", PLAN, fail)
    works.begin("d", PLAN, lambda *_: None)
    eventually(lambda: works.get("d") is None)


def test_what_may_pass_is_tried_again(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01,))
    tried: list[str | None] = []

    def try_it(_: str, work: Work) -> None:
        tried.append(work.error)
        if len(tried) < 4:
            raise Unavailable("Away.")

    works.begin("d", PLAN, try_it)
    eventually(lambda: works.get("d") is None)
    assert tried == [None, "Away.", "Away.", "Away."]


def test_taking_down_is_begun_once_and_again_after_it_has_failed(works: Works) -> None:
    go_on = threading.Event()
    seen: list[int] = []

    def take_down(*_: object) -> None:
        seen.append(1)
        assert go_on.wait(10)
        if len(seen) == 1:
            raise ValueError("broken")

    works.begin("d", None, take_down)
    first = works.get("d")
    works.begin("d", None, take_down)
    assert works.get("d") is first
    go_on.set()
    assert first is not None
    assert first.ended.wait(10)
    assert first.error == "ValueError: broken"
    works.begin("d", None, take_down)
    eventually(lambda: works.get("d") is None)
    assert seen == [1, 1]
