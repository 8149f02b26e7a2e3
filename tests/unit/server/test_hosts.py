"""Under which names the server answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.server.hosts import Hosts
from penstock.settings import Settings


def status(*headers: tuple[str, str], hosts: str = "", server: tuple[str, int | None] = ("127.0.0.1", 80)) -> int:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": raw, "server": server}
    asyncio.run(Hosts(app, settings=Settings(hosts=hosts), doors=frozenset({"/x/server.sock"}))(scope, None, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8237", "localhost:1", "LOCALHOST", "[::1]:80", "10.1.2.3", "localhost."]
)
def test_addresses_and_the_own_names_are_known(host: str) -> None:
    assert status(("host", host)) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "penstock", "a.b"])
def test_other_names_are_turned_away_until_they_are_set(host: str) -> None:
    assert status(("host", host)) == 421
    assert status(("host", host), hosts=f"other, {host.upper()}") == 200


@pytest.mark.parametrize(
    "host", ["", "a/healthz?", "a#", "a b", "user@127.0.0.1", "[::1", "x:y", "127.0.0.1:", "\xe9", "a\r\nb"]
)
def test_what_is_no_host_is_malformed(host: str) -> None:
    assert status(("host", host)) == 400


def test_none_or_two_are_malformed() -> None:
    assert status() == 400
    assert status(("host", "localhost"), ("host", "localhost")) == 400


@pytest.mark.parametrize("name", ["authorization", "content-type", "content-length", "cookie"])
def test_headers_that_stand_once_do(name: str) -> None:
    assert status(("host", "localhost"), (name, "1")) == 200
    assert status(("host", "localhost"), (name, "1"), (name, "1")) == 400


def test_the_owners_socket_may_be_called_anything() -> None:
    assert status(("host", "penstock"), server=("/x/server.sock", None)) == 200
    assert status(("host", "penstock"), server=("/y/server.sock", None)) == 421
