"""Who is let in: keys as they hold now, and accounts of which a server that is a double says what they may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.errors import Forbidden, NotFound, PenstockError, Unauthenticated, Unavailable
from penstock.ids import digest_of
from penstock.model.deployment import KeyDigest
from penstock.model.deployment_settings import DeploymentSettings
from penstock.serve import callers as module
from penstock.serve.callers import Callers
from tests.unit.serve.test_candidate import until

HOUR = timedelta(hours=1)


def key(text: str, valid: timedelta | None = None) -> KeyDigest:
    until = None if valid is None else datetime.now(UTC) + valid
    return KeyDigest(name="k", digest=digest_of(text.encode()), valid_until=until)


def of(*keys: KeyDigest, needed: bool = True, **settings: Any) -> Callers:
    said = DeploymentSettings(**settings)
    plan = SimpleNamespace(auth=needed, keys=keys, settings=said, server="http://127.0.0.1:1", deployment_id="d")
    return Callers(cast(Any, plan))


def scope(*values: str | bytes) -> Any:
    given = [one if isinstance(one, bytes) else one.encode() for one in values]
    return {"headers": [(b"accept", b"*/*"), *((b"authorization", one) for one in given)]}


def passes(callers: Callers, *values: str | bytes) -> bool:
    try:
        asyncio.run(callers.check(scope(*values)))
    except Unauthenticated:
        return False
    return True


# Keys


def test_everybody_is_let_in_where_no_key_is_needed_and_nobody_where_there_is_none() -> None:
    assert passes(of(needed=False))
    assert not passes(of())
    assert not passes(of(), "Bearer ")


def test_a_key_holds_until_its_time_and_the_one_that_replaces_it_holds_beside_it() -> None:
    callers = of(key("old", HOUR), key("new"), key("older", -HOUR))
    assert [passes(callers, f"Bearer {one}") for one in ("old", "new", "older", "other")] == [True, True, False, False]
    assert passes(of(key("same", -HOUR), key("same")), "Bearer same")


@pytest.mark.parametrize(
    ("said", "whether"),
    [
        ("bearer  k ", True),
        ("BEARER k", True),
        ("Bearer K", False),
        ("Basic k", False),
        ("k", False),
        ("Bearer", False),
        (b"Bearer \xff\xfe", False),
    ],
)
def test_how_a_key_is_shown(said: str | bytes, whether: bool) -> None:
    assert passes(of(key("k")), said) is whether


def test_a_key_may_have_letters_of_any_alphabet() -> None:
    text = "Schlüssel für 日本"
    assert passes(of(key(text)), f"Bearer {text}")


def test_a_second_header_is_no_second_try() -> None:
    assert not passes(of(key("k")), "Bearer wrong", "Bearer k")


# Accounts


@dataclass
class Server:
    """Says of each credential what it is told to; with `hold`, when it is let go."""

    says: dict[str, PenstockError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def look(self, credential: str) -> None:
        self.asked.append(credential)
        assert self.go.wait(60)
        if credential in self.says:
            raise self.says[credential]


def served(server: Server, *, hold: bool = False, **settings: Any) -> Callers:
    callers = of(key("own"), auth_cache=settings.pop("auth_cache", 60.0), auth="server", **settings)
    assert callers._accounts is not None
    callers._accounts._look = server.look  # type: ignore[method-assign]
    if not hold:
        server.go.set()
    return callers


def run(work: Callable[[], Any]) -> None:
    asyncio.run(work())


async def refusal(callers: Callers, credential: str) -> PenstockError | None:
    try:
        await callers.check(scope(f"Bearer {credential}"))
    except PenstockError as error:
        return error
    return None


def test_many_who_ask_about_one_are_one_question_and_others_wait_for_nobody() -> None:
    async def work() -> None:
        server = Server({"b": Forbidden("no")})
        callers = served(server, hold=True)
        asking = [asyncio.ensure_future(refusal(callers, one)) for one in ("a", "b", "a", "a", "b")]
        await until(lambda: len(server.asked) == 2)
        server.go.set()
        assert [type(one) for one in await asyncio.gather(*asking)] == [
            type(None),
            Forbidden,
            type(None),
            type(None),
            Forbidden,
        ]
        assert sorted(server.asked) == ["a", "b"]

    run(work)


def test_what_was_said_holds_for_its_time_whether_yes_or_no() -> None:
    async def work() -> None:
        server = Server({"b": Unauthenticated("unknown key")})
        callers = served(server)
        for _ in range(3):
            assert await refusal(callers, "a") is None
            told = await refusal(callers, "b")
            assert isinstance(told, Unauthenticated)
            assert told.detail == "unknown key"
        assert server.asked == ["a", "b"]
        server.says = {"a": Forbidden("no more")}
        assert callers._accounts is not None
        callers._accounts._known = type(callers._accounts._known)(
            (name, (0.0, kind, text)) for name, (_, kind, text) in callers._accounts._known.items()
        )
        assert isinstance(await refusal(callers, "a"), Forbidden)
        assert await refusal(callers, "b") is None

    run(work)


def test_with_no_time_to_hold_each_is_asked_anew() -> None:
    async def work() -> None:
        server = Server()
        callers = served(server, auth_cache=0.0)
        assert [await refusal(callers, "a") for _ in range(3)] == [None] * 3
        assert server.asked == ["a"] * 3

    run(work)


def test_a_server_that_is_away_is_no_answer_and_is_asked_again() -> None:
    async def work() -> None:
        server = Server({"a": Unavailable("connection refused to 10.0.0.7")})
        callers = served(server)
        told = await refusal(callers, "a")
        assert isinstance(told, Unavailable)
        assert told.headers["Retry-After"] == "2"
        assert "10.0.0.7" not in told.detail
        server.says = {}
        assert await refusal(callers, "a") is None
        assert server.asked == ["a", "a"]

    run(work)


def test_who_may_not_see_a_deployment_is_not_told_whether_there_is_one() -> None:
    async def work() -> None:
        told = await refusal(served(Server({"a": NotFound("There is no deployment 'd'.")})), "a")
        assert isinstance(told, Forbidden)
        assert "'d'" not in told.detail

    run(work)


def test_a_key_of_the_deployment_and_no_credential_at_all_are_no_question() -> None:
    async def work() -> None:
        server = Server()
        callers = served(server)
        assert await refusal(callers, "own") is None
        assert isinstance(await refusal(callers, " "), Unauthenticated)
        assert server.asked == []

    run(work)


def test_one_who_hangs_up_takes_the_answer_from_nobody() -> None:
    async def work() -> None:
        server = Server()
        callers = served(server, hold=True)
        first, second = (asyncio.ensure_future(refusal(callers, "a")) for _ in range(2))
        await until(lambda: server.asked == ["a"])
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        server.go.set()
        assert await second is None
        assert server.asked == ["a"]

    run(work)


def test_only_so_many_are_remembered_and_one_that_is_forgotten_at_once_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 1)

    async def work() -> None:
        server = Server()
        callers = served(server, hold=True)
        asking = [asyncio.ensure_future(refusal(callers, one)) for one in "abcd"]
        await until(lambda: len(server.asked) == 4)
        server.go.set()
        assert await asyncio.gather(*asking) == [None] * 4
        assert callers._accounts is not None
        assert len(callers._accounts._known) == 1
        assert callers._accounts._asking == {}

    run(work)
