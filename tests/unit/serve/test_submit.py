"""`/submit` as callers see it, in front of a backlog that is a double."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from starlette.types import Message

from penstock.errors import InvalidInput, MalformedRequest, PenstockError, TooLarge, Unavailable
from penstock.model.deployment_settings import DeploymentSettings
from penstock.serve.submissions import Submission
from penstock.serve.submit import Submit, document

QUEUED = Submission("r1", b"{}", "queued", 0.0, None, None, 0, False, None, None)
DONE = replace(QUEUED, state="completed", started=1.0, ended=2.0, attempts=1, status=200, result=b'{"success":true}')


@dataclass
class Backlog:
    """Takes one request, which stands as it is said to."""

    found: Submission = QUEUED
    new: bool = True
    ends_in: Submission | None = None
    """What it is for whoever waits."""

    refuses: PenstockError | None = None
    heard: list[Any] = field(default_factory=list)

    def check(self, body: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses

    async def accept(self, body: bytes, key: str | None) -> tuple[Submission, bool]:
        self.heard.append((body, key))
        return self.found, self.new

    async def look(self, identity: str, wait: float = 0.0) -> Submission:
        self.heard.append((identity, wait))
        return self.ends_in or self.found if wait else self.found

    async def cancel(self, identity: str) -> Submission:
        self.heard.append(identity)
        return self.found


@dataclass
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    told: dict[str, Any]


def ask(
    backlog: Backlog | None,
    verb: str = "submit",
    *parts: bytes,
    headers: dict[str, str] | None = None,
    settings: DeploymentSettings | None = None,
) -> Answer:
    """One request, its body in these parts; None stands for a service that is starting."""

    def there() -> Any:
        if backlog is None:
            raise Unavailable("starting")
        return backlog

    submit = Submit(settings or DeploymentSettings(), there)
    handlers: dict[str, Callable[..., Any]] = {
        "submit": submit._submit,
        "look": submit._look,
        "cancel": submit._cancel,
    }
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    waiting: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, start=1)
    ] or [{"type": "http.request"}]
    said: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        said.append(message)

    scope = {"type": "http", "headers": given, "path_params": {"id": "r1"}}
    asyncio.run(handlers[verb](scope, receive, send))
    start, body = said
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(found["content-length"]) == len(body["body"])
    return Answer(start["status"], found, json.loads(body["body"]))


def test_where_it_is_and_that_all_of_it_needs_a_key() -> None:
    settings = DeploymentSettings(root_url_path="/svc", api_url_path="/api", submit_url_path="/later")
    rows = Submit(settings, cast(Any, None)).rows()
    assert [(method, path, guarded) for _, method, path, _, guarded in rows] == [
        ("POST", "/svc/api/later", True),
        ("GET", "/svc/api/later/*", True),
        ("POST", "/svc/api/later/*/cancel", True),
    ]
    assert ask(Backlog(), settings=settings).headers["location"] == "/svc/api/later/r1"


@pytest.mark.parametrize(
    ("found", "new", "status", "result"),
    [(QUEUED, True, 202, "created"), (QUEUED, False, 202, "joined"), (DONE, False, 200, "replayed")],
)
def test_whether_it_is_new_goes_on_or_has_ended(found: Submission, new: bool, status: int, result: str) -> None:
    told = ask(Backlog(found, new), headers={"Idempotency-Key": "k"})
    assert (told.status, told.headers["idempotency-result"]) == (status, result)


def test_its_body_is_taken_as_it_came_with_the_key_that_came_with_it() -> None:
    backlog = Backlog()
    ask(backlog, "submit", b'{"a":', b"1}", headers={"Idempotency-Key": "schl\xfcssel"})
    ask(backlog, "submit", b"{}")
    assert backlog.heard == [(b'{"a":1}', "schl\xfcssel"), (b"{}", None)]


def test_what_is_refused_is_not_kept() -> None:
    small = DeploymentSettings(max_body=1000)
    backlog = Backlog()
    with pytest.raises(TooLarge):
        ask(backlog, "submit", b"x" * 600, b"x" * 600, settings=small)
    with pytest.raises(InvalidInput):
        ask(Backlog(refuses=InvalidInput("no")), "submit", b"{}")
    for header in ("Idempotency-Until", "Idempotency-Conflict"):
        value = {"Idempotency-Until": "60", "Idempotency-Conflict": "reject"}[header]
        with pytest.raises(InvalidInput, match="as long as its request"):
            ask(backlog, "submit", b"{}", headers={"Idempotency-Key": "k", header: value})
        with pytest.raises(InvalidInput, match="no idempotency key"):
            ask(backlog, "submit", b"{}", headers={header: value})
    with pytest.raises(Unavailable, match="starting"):
        ask(None, "submit", b"{}")
    assert backlog.heard == []


def test_a_caller_who_leaves_before_the_end_of_the_body_has_submitted_nothing() -> None:
    backlog = Backlog()
    submit = Submit(DeploymentSettings(), lambda: cast(Any, backlog))
    messages: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def work() -> None:
        await submit._submit({"type": "http", "headers": []}, receive, cast(Any, None))

    with pytest.raises(MalformedRequest):
        asyncio.run(work())
    assert backlog.heard == []


@pytest.mark.parametrize("verb", ["submit", "look", "cancel"])
def test_who_prefers_to_wait_has_what_has_come_of_it(verb: str) -> None:
    backlog = Backlog(ends_in=DONE)
    told = ask(backlog, verb, headers={"Prefer": "respond-async, wait=5"})
    assert (told.status, told.told["state"]) == (200, "completed")
    assert backlog.heard[-1] == ("r1", 5.0)
    plain = ask(backlog, verb, headers={"Prefer": "wait=soon"})
    assert plain.told["state"] == "queued"
    assert plain.status == (200 if verb == "look" else 202)


def test_what_is_said_of_a_request() -> None:
    assert json.loads(document(QUEUED)) == {
        "run_id": "r1",
        "state": "queued",
        "submitted": "1970-01-01T00:00:00Z",
        "started": None,
        "ended": None,
        "attempts": 0,
        "status": None,
        "result": None,
    }
    told = json.loads(document(DONE))
    assert (told["ended"], told["status"], told["result"]) == ("1970-01-01T00:00:02Z", 200, {"success": True})


@pytest.mark.parametrize(
    ("state", "said"), [("running", "cancelling"), ("completed", "completed"), ("queued", "queued")]
)
def test_only_what_is_under_way_is_being_cancelled(state: str, said: str) -> None:
    assert json.loads(document(replace(QUEUED, state=state, cancelling=True)))["state"] == said
