"""What a process tells of its trial and hears, in front of a server that is a double."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from penstock.client.transport import Response
from penstock.errors import NotFound, ServerUnreachable
from penstock.model.trial import Part, TrialOrder, TrialOrders
from penstock.serve.contest import Contest
from penstock.serve.liaison import Liaison
from tests.unit.serve.test_contest import Service

PATIENCE = 20.0


@dataclass
class Server:
    """Answers in order; the last answer stays. What is an error is raised."""

    answers: list[Any]
    heard: list[dict[str, Any]] = field(default_factory=list)

    def request(self, method: str, path: str, *, json: Any, timeout: float) -> Response:
        self.heard.append(msgspec.json.decode(msgspec.json.encode(json)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Response(200, {}, msgspec.json.encode(TrialOrders(order=answer)))


@dataclass
class Post:
    """A liaison whose turns are the test's."""

    liaison: Liaison
    server: Server
    service: Any
    taken: list[Contest | None]

    def turn(self) -> None:
        self.service.measures.total += 1
        self.liaison._safely(self.liaison._once)

    @property
    def contest(self) -> Contest:
        assert self.liaison._contest is not None
        return self.liaison._contest

    def count(self, **said: int) -> None:
        self.liaison._loop.call_soon_threadsafe(self.contest._count, Part(**said))  # type: ignore[arg-type]

    @property
    def parts(self) -> list[tuple[int, int | None]]:
        """Number and what was compared, of every word that was heard."""
        return [(one["number"], (one["part"] or {}).get("compared")) for one in self.server.heard]


@pytest.fixture
def post() -> Iterator[Post]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    plan = SimpleNamespace(deployment_id="d1", server="http://127.0.0.1:1", token="t", revision=3)
    service: Any = SimpleNamespace(plan=plan, loop=loop, measures=SimpleNamespace(total=0))
    taken: list[Contest | None] = []
    liaison = Liaison(service, Service(), taken.append)
    server = Server([None])
    liaison._transport = cast(Any, server)
    made = Post(liaison, server, service, taken)
    yield made
    server.answers = [None]
    liaison._safely(lambda: liaison._obey(None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def order(**said: Any) -> TrialOrder:
    about: dict[str, Any] = {
        "trial_id": "t",
        "kind": "canary",
        "share": 0.5,
        "snapshot_id": "s2",
        "url": "http://127.0.0.1:1",
        "path": "/invoke",
        "ready_path": "/ready",
        "key": "k",
        "timeout": 1.0,
    }
    return TrialOrder(**about | said)


def test_a_service_that_nobody_asks_asks_nothing(post: Post) -> None:
    post.liaison._once()
    assert post.server.heard == []
    post.turn()
    assert [(one["revision"], one["trial_id"], one["part"]) for one in post.server.heard] == [(3, None, None)]
    assert post.taken == []


def test_it_takes_part_changes_and_ends_as_it_is_told(post: Post) -> None:
    post.server.answers = [order(), order(share=0.75), order(trial_id="other"), None]
    post.turn()
    first = post.contest
    post.turn()
    assert post.contest is first
    assert first.order.share == 0.75
    post.turn()
    assert post.contest.order.trial_id == "other"
    post.turn()
    assert post.liaison._contest is None
    assert [one and one.order.trial_id for one in post.taken] == ["t", None, "other", None]


def test_what_was_not_heard_is_told_again_under_its_number_and_nothing_is_told_twice(post: Post) -> None:
    post.server.answers = [order(), ServerUnreachable("away"), ServerUnreachable("away"), order()]
    post.turn()
    post.count(compared=2)
    post.turn()
    post.count(compared=5)
    for _ in range(4):
        post.turn()
    assert post.parts == [(0, None), (1, 2), (1, 2), (1, 2), (2, 5), (2, None)]
    assert len({one["process"] for one in post.server.heard}) == 1


def test_that_it_has_stopped_is_told_once_it_can_be_and_then_no_more(post: Post) -> None:
    post.server.answers = [order(), ServerUnreachable("away"), order()]
    post.turn()
    post.contest.stopped = "It failed."
    for _ in range(4):
        post.turn()
    told = [(one["number"], one["part"] is not None, one["stopped"]) for one in post.server.heard]
    assert told == [
        (0, False, None),
        (1, True, "It failed."),
        (1, True, "It failed."),
        (1, False, "It failed."),
        (1, False, "It failed."),
    ]


def test_a_deployment_that_is_gone_ends_its_trial_and_a_server_that_is_away_does_not(post: Post) -> None:
    post.server.answers = [order(), ServerUnreachable("away"), NotFound("gone")]
    post.turn()
    post.turn()
    assert post.liaison._contest is not None
    post.turn()
    assert post.liaison._contest is None
    assert post.taken[-1] is None


def test_the_last_that_was_counted_is_told_at_the_end(post: Post) -> None:
    post.server.answers = [order()]
    post.turn()
    post.count(compared=7)
    post.liaison.start()
    post.liaison.close()
    assert post.parts[-1] == (1, 7)
    assert post.liaison._contest is None


def test_a_trial_ends_with_its_process_though_nobody_hears_the_last_word(post: Post) -> None:
    post.server.answers = [order(), ServerUnreachable("away")]
    post.turn()
    contest = post.contest
    post.liaison.start()
    post.liaison.close()
    assert post.liaison._contest is None
    assert contest._candidate._closed
