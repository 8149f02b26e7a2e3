"""The OpenAPI document is made once, off the event loop, and says where the server lies."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from penstock.server.description import Application
from penstock.server.noun import Noun, StrictRoute


def application(**settings: str) -> Application:
    app = Application(title="A thing", version="1", **settings)
    noun = Noun("/things", "things")

    @noun.get("", response_model=dict[str, int])
    def list_things() -> dict[str, int]:
        """All of them."""
        return {}

    app.add(noun)
    app.publish("/api/v1/openapi.json")
    return app


def asked(app: Application, times: int = 1, root_path: str = "") -> list[dict[str, Any]]:
    """What is answered to as many who ask at once."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await asyncio.gather(*(client.get("/api/v1/openapi.json") for _ in range(times)))

    answers = asyncio.run(ask())
    assert {one.status_code for one in answers} == {200}
    return [one.json() for one in answers]


def test_answers_are_described_when_somebody_asks() -> None:
    [found] = asked(application())
    answer = found["paths"]["/api/v1/things"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["additionalProperties"] == {"type": "integer"}
    assert list(found["paths"]) == ["/api/v1/things"]
    assert "servers" not in found


def test_behind_a_proxy_it_says_where_it_lies() -> None:
    app = application()
    assert asked(app, root_path="/penstock")[0]["servers"] == [{"url": "/penstock"}]
    assert "servers" not in app.openapi()


def test_it_is_made_on_a_thread_and_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    describe = StrictRoute.describe

    def noted(route: StrictRoute) -> None:
        threads.append(threading.current_thread())
        describe(route)

    monkeypatch.setattr(StrictRoute, "describe", noted)
    first, *others = asked(application(), times=8)
    assert others == [first] * 7
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()  # which is the loop's
