from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.client.client import Client
from penstock.client.connection import PATIENCE
from penstock.client.runs import inside_step
from penstock.errors import InvalidInput, NotFound, ServerUnreachable
from penstock.model.run import RunState

Make = Callable[..., dict[str, Any]]


def event(number: int, type: str, step: str | None = None) -> list[bytes]:
    body = f'{{"number":{number},"at":"2025-01-01T00:00:00Z","type":"{type}","step":{f"{step!r}" if step else "null"}}}'
    return [b"data: " + body.replace("'", '"').encode(), b""]


END = [b"event: end", b"data: {}", b""]


class TestStart:
    def test_sends_the_configuration_and_a_fresh_key(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        run = client.runs.start(template="train@v2", parameters={"lr": 0.1}, steps={"a": {}}, run_name="x", tags=("t",))
        assert run.state is RunState.QUEUED
        assert (transport.last.method, transport.last.path) == ("POST", "/runs")
        assert transport.last.json == {
            "template": "train@v2",
            "parameters": {"lr": 0.1},
            "steps": {"a": {}},
            "run_name": "x",
            "tags": ["t"],
        }
        client.runs.start(template="train@v2")
        first, second = (one.headers["Idempotency-Key"] for one in transport.asked)
        assert first != second

    def test_a_given_key_is_used(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        client.runs.start(pipeline="train", idempotency_key="mine", wait=5)
        assert transport.last.headers == {"Idempotency-Key": "mine", "Prefer": "wait=5"}

    def test_names_the_step_that_asks(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        token = inside_step.set(("r1", "load", lambda: None))
        try:
            client.runs.start(snapshot_id="s1")
        finally:
            inside_step.reset(token)
        assert transport.last.json == {"snapshot_id": "s1", "step_run": {"run_id": "r1", "step": "load"}}

    @pytest.mark.parametrize("targets", [{}, {"pipeline": "a", "template": "b"}])
    def test_exactly_one_target(self, client: Client, transport: Any, targets: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="exactly one"):
            client.runs.start(**targets)
        assert transport.asked == []

    def test_a_misspelt_field_never_leaves(self, client: Client, transport: Any) -> None:
        with pytest.raises(InvalidInput, match="Did you mean 'parameters'"):
            client.runs.start(pipeline="train", params={"x": 1})  # type: ignore[call-arg]
        assert transport.asked == []


def test_claim_gives_the_ticket(client: Client, transport: Any, run_json: Make) -> None:
    ticket = {
        "run_id": "r1",
        "run_name": "train-1",
        "fence": 1,
        "pipeline": "train",
        "source": "m:train",
        "code": None,
        "parameters": {},
        "step_parameters": {},
        "artifact_store": {"flavor": "file"},
        "server": "unix:/s",
        "token": "t",
        "home": "/h",
        "lease": 10,
        "grace": 5,
    }
    transport.script = [{"run": run_json("starting"), "ticket": ticket}]
    run, claimed = client.runs.claim(snapshot_id="s1", parameters={"a": 1})
    assert (run.state, claimed.fence, claimed.artifact_store.flavor) == (RunState.STARTING, 1, "file")
    assert transport.last.json == {"snapshot_id": "s1", "claim": True, "parameters": {"a": 1}}


class TestReading:
    def test_by_record_or_by_name(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json()]
        run = client.runs.get("train 1")
        client.runs.get(run)
        assert [one.path for one in transport.asked] == ["/runs/train%201", f"/runs/{run.id}"]

    def test_list_sends_what_was_asked_for(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [{"items": [run_json()], "total": 7, "next": "c"}]
        page = client.runs.list(size=1, state="queued", tag=None)
        assert ([one.name for one in page], page.total, page.next) == (["train-1"], 7, "c")
        assert transport.last.query == {"size": 1, "state": "queued"}

    def test_steps(self, client: Client, transport: Any) -> None:
        step = {"id": "1", "run_id": "r", "step": "load", "name": "load", "created": "2025-01-01T00:00:00Z"}
        transport.script = [{"items": [step], "next": "c"}, {"items": [{**step, "step": "load_2"}]}]
        assert [one.step for one in client.runs.steps("r")] == ["load", "load_2"]
        assert transport.last.path == "/runs/r/steps"
        assert [one.query for one in transport.asked] == [{"size": 200}, {"size": 200, "cursor": "c"}]

    def test_logs_with_patience(self, client: Client, transport: Any) -> None:
        line = {"at": "2025-01-01T00:00:00Z", "stream": "stdout", "text": "hello", "step": "load"}
        transport.script = [{"lines": [line], "next": 9, "ended": False}]
        page = client.runs.logs("r", "load", after=8, wait=100)
        assert ([one.text for one in page.lines], page.next, page.ended) == (["hello"], 9, False)
        assert transport.last.query == {"step": "load", "after": 8, "limit": 1000}
        assert transport.last.headers == {"Prefer": "wait=30"}

    def test_cancel(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json("cancelling")]
        assert client.runs.cancel("r").state is RunState.CANCELLING
        assert (transport.last.method, transport.last.path) == ("POST", "/runs/r/cancel")


class TestWait:
    def test_returns_the_ended_run(self, client: Client, transport: Any, run_json: Make, pauses: list[float]) -> None:
        transport.script = [run_json("running"), run_json("failed")]
        assert client.runs.wait("train-1").state is RunState.FAILED
        assert {one.headers["Prefer"] for one in transport.asked} == {"wait=30"}

    def test_the_time_is_kept(self, client: Client, transport: Any, run_json: Make, pauses: list[float]) -> None:
        transport.script = [run_json("running")]
        with pytest.raises(TimeoutError, match="not ended within 3 s: it is running"):
            client.runs.wait("train-1", timeout=3)
        assert sum(pauses) == pytest.approx(3)
        assert transport.asked[0].headers == {"Prefer": "wait=3"}

    def test_no_time_at_all_is_one_look(self, client: Client, transport: Any, run_json: Make) -> None:
        transport.script = [run_json("completed")]
        assert client.runs.wait("train-1", timeout=0).state is RunState.COMPLETED
        assert len(transport.asked) == 1

    def test_outlasts_a_restart(self, client: Client, transport: Any, run_json: Make, pauses: list[float]) -> None:
        transport.script = [ServerUnreachable("restarting"), ServerUnreachable("restarting"), run_json("completed")]
        assert client.runs.wait("train-1").state is RunState.COMPLETED

    def test_not_for_ever(self, client: Client, transport: Any, pauses: list[float]) -> None:
        transport.script = [ServerUnreachable("gone")]
        with pytest.raises(ServerUnreachable):
            client.runs.wait("train-1")
        assert sum(pauses) < PATIENCE + 3


class TestFollow:
    def test_until_the_end(self, client: Client, transport: Any, pauses: list[float]) -> None:
        transport.streams = [[*event(1, "run_running"), *event(2, "step_running", "load"), *END]]
        assert [(one.number, one.step) for one in client.runs.follow("r")] == [(1, None), (2, "load")]
        assert (pauses, len(transport.asked)) == ([], 1)

    def test_takes_up_where_it_was_cut(self, client: Client, transport: Any, pauses: list[float]) -> None:
        transport.streams = [event(5, "run_running"), [], [*event(6, "run_completed"), *END]]
        assert [one.number for one in client.runs.follow("r", after=4)] == [5, 6]
        assert [one.headers["Last-Event-ID"] for one in transport.asked] == ["4", "5", "5"]

    def test_outlasts_a_restart(self, client: Client, transport: Any, run_json: Make, pauses: list[float]) -> None:
        transport.script = [ServerUnreachable("restarting"), run_json("running")]
        transport.streams = [ServerUnreachable("restarting"), [*event(1, "run_completed"), *END]]
        assert [one.number for one in client.runs.follow("r")] == [1]

    def test_not_for_ever(self, client: Client, transport: Any, pauses: list[float]) -> None:
        transport.script = transport.streams = [ServerUnreachable("gone")]
        with pytest.raises(ServerUnreachable, match="gone"):
            next(client.runs.follow("r"))
        assert sum(pauses) < PATIENCE + 3

    def test_an_unknown_run(self, client: Client, transport: Any) -> None:
        transport.streams = [NotFound("no such run")]
        with pytest.raises(NotFound):
            next(client.runs.follow("r"))
