"""A device asks, and its owner answers in a browser."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from penstock.control import devices
from penstock.control.installation import Installation, now
from penstock.model.device import new_user_code, typed
from penstock.store.account_tables import devices as rows
from tests.unit.server.conftest import ask
from tests.unit.server.routes.test_users import PASSWORD, Browser, here, root

assert here is not None
assert root is not None

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def asked(app: FastAPI, client: str = "laptop") -> dict[str, Any]:
    answer = ask(app, "POST", "/api/v1/devices", json={"client_id": client})
    assert answer.status_code == 200
    return dict(answer.json())


def poll(app: FastAPI, device: dict[str, Any], *, patient: bool = True) -> Any:
    if patient:
        later(app, "polled", timedelta(seconds=-60))
    body = {"grant_type": GRANT, "device_code": device["device_code"]}
    return ask(app, "POST", "/api/v1/login", data=body)


def later(app: FastAPI, column: str, by: timedelta) -> None:
    """Move a time of all devices, instead of waiting for it."""
    from sqlalchemy import update  # here: no clock of ours can be turned from outside

    with app.state.installation.db.write() as session:
        session.change(update(rows).values({column: now() + by}))


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def test_the_whole_way(app: FastAPI, root: Browser) -> None:
    device = asked(app)
    assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", device["user_code"])
    assert device["verification_uri_complete"] == f"http://127.0.0.1/device?code={device['user_code']}"
    pending = poll(app, device)
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    browser = Browser(app, address="192.0.2.4")
    page = browser.ask("GET", f"/device?code={device['user_code']}")
    assert "password" in page.text
    signed_in = browser.ask("POST", "/device", data={"code": device["user_code"], "name": "root", "password": PASSWORD})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, f"/device?code={device['user_code']}")
    page = browser.ask("GET", signed_in.headers["location"])
    assert "laptop" in page.text
    answer = {"code": device["user_code"], "csrf_token": hidden(page.text, "csrf_token"), "answer": "approve"}
    assert "let in as root" in browser.ask("POST", "/device", data=answer).text
    given = poll(app, device).json()
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    assert (given["token_type"], given["expires_in"]) == ("bearer", 30 * 24 * 3600)
    assert ask(app, "GET", "/api/v1/me", headers=bearer).json()["name"] == "root"
    assert poll(app, device).json()["error"] == "expired_token"  # it is given once
    (key,) = root.ask("GET", "/me/api_keys").json()["items"]
    assert root.ask("DELETE", f"/me/api_keys/{key['id']}").status_code == 204
    assert ask(app, "GET", "/api/v1/me", headers=bearer).status_code == 401


def test_who_asks_too_often_is_told_to_slow_down(app: FastAPI, root: Browser) -> None:
    device = asked(app)
    told = [poll(app, device, patient=False).json()["error"] for _ in range(3)]
    assert told == ["authorization_pending", "slow_down", "slow_down"]
    later(app, "polled", timedelta(seconds=-11))
    assert poll(app, device, patient=False).json()["error"] == "slow_down"  # the pause has grown to fifteen seconds
    assert poll(app, device).json()["error"] == "authorization_pending"


def test_a_code_ends_by_itself(app: FastAPI, root: Browser) -> None:
    device = asked(app)
    later(app, "expires", timedelta(seconds=-1))
    assert poll(app, device).json()["error"] == "expired_token"
    page = root.ask("GET", f"/device?code={device['user_code']}")
    assert (page.status_code, "Type the code" in page.text) == (404, True)


def test_no_means_no(app: FastAPI, root: Browser) -> None:
    device = asked(app)
    said = root.ask("POST", f"/devices/{device['user_code']}/answer", json={"approve": False}, api=True)
    assert said.status_code == 204
    assert poll(app, device).json()["error"] == "access_denied"
    assert poll(app, device).json()["error"] == "expired_token"


def test_another_page_cannot_say_yes(app: FastAPI, root: Browser) -> None:
    device = asked(app)
    page = root.ask("GET", f"/device?code={device['user_code']}").text
    good = {"code": device["user_code"], "csrf_token": hidden(page, "csrf_token"), "answer": "approve"}
    for body, headers in (
        ({**good, "csrf_token": ""}, {}),
        ({**good, "csrf_token": "0" * 64}, {}),
        (good, {"Origin": "https://evil.example"}),
        (good, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert root.ask("POST", "/device", data=body, headers=headers).status_code == 403
    assert poll(app, device).json()["error"] == "authorization_pending"
    stranger = Browser(app).ask("POST", "/device", data=good)
    assert stranger.status_code == 401


def test_codes_are_not_guessed(app: FastAPI, root: Browser) -> None:
    answers = [root.ask("GET", f"/device?code={new_user_code()}").status_code for _ in range(7)]
    assert answers == [404] * 5 + [429] * 2


def test_what_a_device_calls_itself_is_only_text(app: FastAPI, root: Browser) -> None:
    device = asked(app, '<script>alert(1)</script>"onload=x')
    page = root.ask("GET", f"/device?code={device['user_code']}")
    assert "<script>" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    strange = root.ask("GET", "/device?code=%22%3E%3Cscript%3E")
    assert "<script>" not in strange.text


def test_a_key_does_not_make_another_one(app: FastAPI, root: Browser) -> None:
    made = root.ask("POST", "/me/api_keys", json={"name": "k"}).json()["key"]
    device = asked(app)
    at = f"/api/v1/devices/{device['user_code']}/answer"
    refused = ask(app, "POST", at, json={"approve": True}, headers={"Authorization": f"Bearer {made}"})
    assert refused.status_code == 403


def test_they_do_not_pile_up(app: FastAPI, here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_MOST", 3)
    for _ in range(3):
        asked(app)
    assert ask(app, "POST", "/api/v1/devices", json={}).status_code == 429
    later(app, "expires", timedelta(seconds=-1))
    asked(app)


@pytest.mark.parametrize("text", ["bcdf-ghjk", " BCDF GHJK ", "bcdfghjk", "BCDF-GHJK\n"])
def test_a_code_may_be_typed_as_people_type(text: str) -> None:
    assert typed(text) == "BCDF-GHJK"
