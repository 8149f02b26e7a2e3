"""People over HTTP: set-up, invitation, signing in and out, and who is kept from guessing."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import process_time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.control import throttle, users
from penstock.control.installation import Installation
from tests.unit.server.conftest import ask

PASSWORD = "correct horse battery"


class Browser:
    """Keeps cookies and the token that goes with them, as a page of ours would."""

    def __init__(self, app: FastAPI, address: str = "192.0.2.1", scheme: str = "http") -> None:
        self.app, self.address, self.scheme = app, address, scheme
        self.cookies = httpx.Cookies()
        self.token: str | None = None

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(self.address, 1234))
            base = f"{self.scheme}://localhost"
            async with httpx.AsyncClient(transport=transport, base_url=base, cookies=self.cookies) as client:
                at = path if path.startswith("/device") and "api" not in options else f"/api/v1{path}"
                options.pop("api", None)
                answer = await client.request(method, at, **options)
                self.cookies = client.cookies
                return answer

        if self.token is not None:
            options["headers"] = {"X-CSRF-Token": self.token, **options.get("headers", {})}
        return asyncio.run(send())

    def sign_in(self, name: str, password: str = PASSWORD, **options: Any) -> httpx.Response:
        answer = self.ask("POST", "/sessions", json={"name": name, "password": password}, **options)
        if answer.status_code == 201:
            self.token = answer.json()["csrf_token"]
        return answer


@pytest.fixture
def here(app: FastAPI) -> Installation:
    found: Installation = app.state.installation
    return found


@pytest.fixture
def root(app: FastAPI, here: Installation) -> Browser:
    """An admin, set up with the server's code, in a browser."""
    code = users.set_up_code(here)
    body = {"code": code, "name": "root", "password": PASSWORD}
    assert ask(app, "POST", "/api/v1/users/activate", json=body).status_code == 201
    browser = Browser(app)
    assert browser.sign_in("root").status_code == 201
    return browser


def invite(root: Browser, name: str, **said: Any) -> Browser:
    code = root.ask("POST", "/users", json={"name": name, **said}).json()["code"]
    person = Browser(root.app)
    assert person.ask("POST", "/users/activate", json={"code": code, "password": PASSWORD}).status_code == 201
    assert person.sign_in(name).status_code == 201
    return person


class TestSetUp:
    def test_a_fresh_server_lets_nobody_in(self, app: FastAPI) -> None:
        for name in ("admin", "default", "root", "owner", "penstock"):
            for password in ("", "admin", "default", "password"):
                answer = Browser(app, address=f"192.0.2.{len(name)}").sign_in(name, password)
                assert answer.status_code in (401, 429)

    def test_the_code_is_good_once_and_makes_one_admin_however_many_use_it_at_once(
        self, app: FastAPI, here: Installation
    ) -> None:
        code = users.set_up_code(here)

        def activate(number: int) -> int:
            body = {"code": code, "name": f"root{number}", "password": PASSWORD}
            return Browser(app, address=f"198.51.100.{number}").ask("POST", "/users/activate", json=body).status_code

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(activate, range(8)))
        assert sorted(answers) == [201] + [401] * 7
        assert users.set_up_code(here) is None
        with here.db.read() as session:
            from penstock.store import users as stored  # here: for this test alone

            assert stored.count(session) == 1

    def test_each_start_makes_the_code_before_useless(self, app: FastAPI, here: Installation) -> None:
        first, second = users.set_up_code(here), users.set_up_code(here)
        body = {"name": "root", "password": PASSWORD}
        assert ask(app, "POST", "/api/v1/users/activate", json={"code": first, **body}).status_code == 401
        assert ask(app, "POST", "/api/v1/users/activate", json={"code": second, **body}).status_code == 201

    def test_a_password_that_is_refused_does_not_use_the_code_up(self, app: FastAPI, here: Installation) -> None:
        code = users.set_up_code(here)
        for wrong in ("short", "x" * 257):
            body = {"code": code, "name": "root", "password": wrong}
            refused = ask(app, "POST", "/api/v1/users/activate", json=body)
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/password")
        body = {"code": code, "password": PASSWORD}
        assert ask(app, "POST", "/api/v1/users/activate", json=body).json()["errors"][0]["pointer"] == "/name"
        assert ask(app, "POST", "/api/v1/users/activate", json={**body, "name": "root"}).status_code == 201

    def test_codes_are_not_guessed(self, app: FastAPI, here: Installation) -> None:
        users.set_up_code(here)
        answers = [
            Browser(app).ask("POST", "/users/activate", json={"code": f"c{n}", "name": "x", "password": PASSWORD})
            for n in range(7)
        ]
        assert [one.status_code for one in answers] == [401] * 5 + [429] * 2


class TestSessions:
    def test_the_cookie_is_for_this_server_and_no_script(self, app: FastAPI, root: Browser) -> None:
        cookie = Browser(app).sign_in("root").headers["set-cookie"]
        assert re.search(r"penstock_session=[\w-]{43};", cookie)
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        encrypted = Browser(app, scheme="https").sign_in("root").headers["set-cookie"]
        assert encrypted.startswith("__Host-penstock=")
        assert "Secure" in encrypted.split("; ")

    def test_only_hashes_are_kept(self, here: Installation, root: Browser) -> None:
        secret = next(iter(root.cookies.values()))
        here.db.close()
        for file in here.settings.home.glob("penstock.db*"):
            content = file.read_bytes()
            assert PASSWORD.encode() not in content
            assert secret.encode() not in content

    def test_what_changes_something_needs_the_token_and_a_page_of_ours(self, root: Browser) -> None:
        account = {"name": "a"}
        token, root.token = root.token, None
        assert root.ask("GET", "/me").json()["csrf_token"] == token
        for headers in (
            {},
            {"X-CSRF-Token": "wrong"},
            {"X-CSRF-Token": str(token), "Origin": "https://evil.example"},
            {"X-CSRF-Token": str(token), "Origin": "null"},
            {"X-CSRF-Token": str(token), "Sec-Fetch-Site": "cross-site"},
            {"X-CSRF-Token": str(token), "Sec-Fetch-Site": "same-site"},
        ):
            for method, path in (
                ("POST", "/service_accounts"),
                ("DELETE", "/service_accounts/a"),
                ("DELETE", "/sessions"),
            ):
                refused = root.ask(method, path, json=account, headers=headers)
                assert refused.status_code == 403, (headers, method)
        good = {"X-CSRF-Token": str(token), "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
        assert root.ask("POST", "/service_accounts", json=account, headers=good).status_code == 201

    def test_a_page_of_others_cannot_sign_somebody_in(self, app: FastAPI, root: Browser) -> None:
        evil = {"Origin": "https://evil.example"}
        assert Browser(app).sign_in("root", headers=evil).status_code == 403

    def test_signing_out_ends_it_at_once(self, app: FastAPI, root: Browser) -> None:
        kept = httpx.Cookies(root.cookies)
        assert root.ask("DELETE", "/sessions/current").status_code == 204
        root.cookies = kept
        assert root.ask("GET", "/me").status_code == 401

    def test_signing_out_everywhere_ends_sessions_and_tokens(self, app: FastAPI, root: Browser) -> None:
        other = Browser(app, address="192.0.2.9")
        other.sign_in("root")
        login = {"username": "root", "password": PASSWORD}
        token = ask(app, "POST", "/api/v1/login", data=login).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert ask(app, "GET", "/api/v1/me", headers=bearer).json()["name"] == "root"
        assert root.ask("GET", "/sessions").json()["total"] == 2
        assert root.ask("DELETE", "/sessions").status_code == 204
        assert other.ask("GET", "/me").status_code == 401
        assert ask(app, "GET", "/api/v1/me", headers=bearer).status_code == 401

    def test_nobody_ends_the_sessions_of_others(self, root: Browser) -> None:
        ann = invite(root, "ann")
        roots = root.ask("GET", "/sessions").json()["items"][0]["id"]
        assert ann.ask("DELETE", f"/sessions/{roots}").status_code == 404
        assert root.ask("GET", "/me").status_code == 200

    @pytest.mark.parametrize("setting", ["session_idle", "session_lifetime"])
    def test_it_ends_by_itself(self, app: FastAPI, here: Installation, root: Browser, setting: str) -> None:
        object.__setattr__(here.settings, setting, 0.0)
        fresh = Browser(app)
        fresh.sign_in("root")
        assert fresh.ask("GET", "/me").status_code == 401

    def test_what_an_account_may_do_changes_under_its_sessions(self, root: Browser) -> None:
        ann = invite(root, "ann", role="editor")
        assert ann.ask("GET", "/runs").status_code == 200
        assert ann.ask("GET", "/users").status_code == 403
        root.ask("PATCH", "/users/ann", json={"role": "none"})
        assert ann.ask("GET", "/runs").status_code == 403
        root.ask("PATCH", "/users/ann", json={"active": False})
        assert ann.ask("GET", "/me").status_code == 401
        assert Browser(root.app).sign_in("ann").status_code == 401
        root.ask("DELETE", "/users/ann")
        assert Browser(root.app, address="192.0.2.7").sign_in("ann").status_code == 401


class TestPasswords:
    def test_a_change_needs_the_current_one_and_ends_everything(self, app: FastAPI, root: Browser) -> None:
        ann, elsewhere = invite(root, "ann"), Browser(app, address="192.0.2.8")
        elsewhere.sign_in("ann")
        kept = httpx.Cookies(ann.cookies)
        wrong = {"current": "something else", "new": "another password"}
        assert ann.ask("PUT", "/me/password", json=wrong).status_code == 401
        assert ann.ask("PUT", "/me/password", json={"current": PASSWORD, "new": "short"}).status_code == 422
        right = {"current": PASSWORD, "new": "another password"}
        assert ann.ask("PUT", "/me/password", json=right).status_code == 204
        ann.cookies = kept
        for browser in (ann, elsewhere):
            assert browser.ask("GET", "/me").status_code == 401
        assert Browser(app).sign_in("ann").status_code == 401
        assert Browser(app).sign_in("ann", "another password").status_code == 201

    def test_a_reset_is_by_a_code_of_an_admin_and_bound_to_the_account(self, root: Browser) -> None:
        ann = invite(root, "ann")
        code = root.ask("POST", "/users/ann/reset").json()["code"]
        assert ann.ask("GET", "/me").status_code == 200  # until it is used
        body = {"code": code, "password": "another password", "name": "root"}
        assert Browser(root.app).ask("POST", "/users/activate", json=body).json()["name"] == "ann"
        assert ann.ask("GET", "/me").status_code == 401
        assert Browser(root.app).sign_in("ann", "another password").status_code == 201
        assert Browser(root.app).sign_in("root").status_code == 201

    def test_people_do_not_make_themselves_more(self, root: Browser) -> None:
        ann = invite(root, "ann")
        for method, path in (("PATCH", "/users/ann"), ("POST", "/users/root/reset"), ("DELETE", "/users/root")):
            assert ann.ask(method, path, json={"role": "admin"}).status_code == 403
        made = ann.ask("POST", "/me/api_keys", json={"name": "k", "scopes": ["manage"]}).json()["key"]
        bearer = {"Authorization": f"Bearer {made}"}
        assert ask(root.app, "GET", "/api/v1/users", headers=bearer).status_code == 403
        assert ask(root.app, "POST", "/api/v1/me/api_keys", headers=bearer, json={"name": "l"}).status_code == 403

    def test_a_person_is_no_service_account(self, root: Browser) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            assert root.ask(method, "/service_accounts/root", json={}).status_code == 404
        assert root.ask("GET", "/service_accounts").json()["total"] == 0
        assert root.ask("POST", "/users", json={"name": "root"}).status_code == 409


class TestGuessing:
    def test_after_five_failures_the_right_one_is_refused_too(self, app: FastAPI, root: Browser) -> None:
        guesser = Browser(app, address="203.0.113.1")
        assert [guesser.sign_in("root", "wrong wrong").status_code for _ in range(6)] == [401] * 5 + [429]
        refused = guesser.sign_in("root")
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 900

    def test_the_person_gets_in_all_the_same(self, app: FastAPI, root: Browser) -> None:
        for address in range(1, 60):
            guesser = Browser(app, address=f"203.0.113.{address}")
            for _ in range(2):
                guesser.sign_in("root", "wrong wrong")
        assert Browser(app, address="203.0.113.200").sign_in("root").status_code == 429  # from anywhere else
        assert Browser(app, address=root.address).sign_in("root").status_code == 201

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
    def test_a_header_makes_nobody_somebody_else(self, app: FastAPI, root: Browser, header: str) -> None:
        guesser = Browser(app, address="203.0.113.1")
        answers = [
            guesser.sign_in("root", "wrong wrong", headers={header: f"198.51.100.{n}"}).status_code for n in range(8)
        ]
        assert answers == [401] * 5 + [429] * 3

    def test_one_address_does_not_try_many_names(self, app: FastAPI) -> None:
        guesser = Browser(app, address="203.0.113.1")
        answers = [guesser.sign_in(f"name{n}", "wrong wrong").status_code for n in range(throttle.PER_ADDRESS + 2)]
        assert answers == [401] * throttle.PER_ADDRESS + [429] * 2

    def test_changing_the_password_and_tokens_are_held_to_the_same(self, app: FastAPI, root: Browser) -> None:
        body = {"current": "wrong wrong", "new": "another password"}
        answers = [root.ask("PUT", "/me/password", json=body).status_code for _ in range(6)]
        assert answers == [401] * 5 + [429]
        assert Browser(app, address=root.address).sign_in("root").status_code == 429

    def test_a_name_that_is_not_there_costs_as_much(self, here: Installation, root: Browser) -> None:
        def cost(name: str, number: int) -> float:
            begun = process_time()
            with pytest.raises(Exception, match="wrong"):
                users.verify(here, name, "wrong wrong", f"198.51.100.{number}")
            return process_time() - begun

        known = median(cost("root", n) for n in range(9))
        unknown = median(cost("nobody", 100 + n) for n in range(9))
        assert 0.5 < unknown / known < 2
