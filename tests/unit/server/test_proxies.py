"""Whose word on the caller counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.server.proxies import Proxies, networks


def seen(peer: str, *headers: tuple[str, str], trusted: str = "10.0.0.0/8, ::1") -> tuple[str, str]:
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "headers": raw, "client": (peer, 1)}
    asyncio.run(Proxies(app, trusted=trusted)(scope, None, None))  # type: ignore[arg-type]
    return found["client"][0], found["scheme"]


FOR, PROTO = "x-forwarded-for", "x-forwarded-proto"


def test_a_proxy_that_is_trusted_says_who_called_it_and_how() -> None:
    assert seen("10.0.0.1", (FOR, "1.2.3.4"), (PROTO, "https")) == ("1.2.3.4", "https")
    assert seen("::1", (FOR, "2001:db8::1")) == ("2001:db8::1", "http")


def test_anybody_else_may_say_what_they_like() -> None:
    assert seen("9.9.9.9", (FOR, "1.2.3.4"), (PROTO, "https")) == ("9.9.9.9", "http")


def test_only_what_trusted_proxies_have_added_counts() -> None:
    assert seen("10.0.0.1", (FOR, "6.6.6.6, 1.2.3.4, 10.0.0.2"))[0] == "1.2.3.4"
    assert seen("10.0.0.1", (FOR, "6.6.6.6"), (FOR, "1.2.3.4"))[0] == "1.2.3.4"
    assert seen("10.0.0.1", (FOR, "10.0.0.3, 10.0.0.2"))[0] == "10.0.0.3"


@pytest.mark.parametrize("garbage", ["unknown", "1.2.3.4:80", "_hidden", ""])
def test_what_is_no_address_ends_the_chain(garbage: str) -> None:
    assert seen("10.0.0.1", (FOR, f"1.2.3.4, {garbage}, 10.0.0.2"))[0] in ("10.0.0.2", "1.2.3.4")
    assert seen("10.0.0.1", (FOR, garbage), (PROTO, "gopher")) == ("10.0.0.1", "http")


def test_a_setting_that_is_no_network_is_refused() -> None:
    with pytest.raises(PenstockError, match="PENSTOCK_TRUSTED_PROXIES"):
        networks("10.0.0.0/8, nonsense")
