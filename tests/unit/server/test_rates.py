"""How often a caller may come."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.server import rates
from penstock.server.rates import Buckets, Rates
from penstock.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 2), max_size=200), st.sampled_from([0.5, 1.0, 10.0]), st.sampled_from([0.5, 2.0]))
def test_nobody_ever_gets_more_than_the_burst_and_the_rate(pauses: list[float], rate: float, burst: float) -> None:
    clock = Clock()
    buckets, taken = Buckets(rate, burst, clock), 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("me")
        taken += not wait
        assert taken <= max(1.0, rate * burst) + rate * clock.now + 1e-6
        if wait:
            clock.now += wait + 1e-9
            assert buckets.take("me") == 0.0
            taken += 1


def test_callers_do_not_share_and_no_limit_is_none() -> None:
    clock = Clock()
    buckets = Buckets(1.0, 1.0, clock)
    assert (buckets.take("a"), buckets.take("b")) == (0.0, 0.0)
    assert buckets.take("a") == 1.0
    assert not any(Buckets(0.0, 10.0).take("a") for _ in range(100))


def test_no_number_of_callers_takes_more_memory() -> None:
    buckets = Buckets(1.0, 1.0)
    for number in range(rates.MOST + 50):
        buckets.take(str(number))
    assert len(buckets._buckets) == rates.MOST


def statuses(settings: Settings, requests: list[tuple[str, str | None]], door: bool = False) -> list[int]:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 200})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.append(message)

    middleware = Rates(app, settings=settings, doors=frozenset({"/sock"}))
    for address, key in requests:
        headers = [(b"authorization", key.encode())] if key else []
        server = ("/sock", None) if door else ("127.0.0.1", 1)
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": headers,
            "client": (address, 1),
            "server": server,
        }
        asyncio.run(middleware(scope, None, send))  # type: ignore[arg-type]
    for one in sent:
        if one["status"] == 429:
            assert int(dict(one["headers"])[b"retry-after"]) >= 1
    return [one["status"] for one in sent]


def test_keys_have_their_own_limit_wherever_they_come_from() -> None:
    settings = Settings(rate_per_key=0.01, rate_burst=200)
    assert statuses(settings, [("1.1.1.1", "a"), ("2.2.2.2", "a"), ("3.3.3.3", "a"), ("1.1.1.1", "b")]) == [
        200,
        200,
        429,
        200,
    ]


def test_a_new_key_with_each_request_is_still_one_address() -> None:
    settings = Settings(rate_per_address=0.01, rate_burst=200)
    assert statuses(settings, [("1.1.1.1", f"k{n}") for n in range(4)]) == [200, 200, 429, 429]


def test_the_owners_socket_has_none() -> None:
    assert statuses(Settings(rate_per_address=0.01, rate_burst=1), [("", None)] * 5, door=True) == [200] * 5
