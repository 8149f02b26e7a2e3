"""What a credential has opened ends with it: streams, followed output and long waits, whatever ends the credential."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.client.client import Client
from penstock.errors import Unauthenticated
from tests import postgres
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually
from tests.acceptance.test_people import PASSWORD

LATEST = 5.0
"""Seconds after which nothing of a lost credential is open; measured on a busy machine, one is meant."""

Ask = Callable[[httpx.Client, str], "Open"]


@dataclass
class Open:
    """A request that goes on in a thread of its own."""

    thread: threading.Thread
    answer: dict[str, Any]

    @property
    def begun(self) -> bool:
        return "begun" in self.answer

    @property
    def goes_on(self) -> bool:
        return self.thread.is_alive()


def stream(client: httpx.Client, run: str) -> Open:
    """Follow the events of a run."""
    answer: dict[str, Any] = {}

    def follow() -> None:
        with client.stream("GET", f"/runs/{run}/events", headers={"Accept": "text/event-stream"}) as response:
            answer["status"] = response.status_code
            answer["text"] = ""
            for text in response.iter_text():
                answer["text"] += text
                if "run_running" in answer["text"]:
                    answer["begun"] = True

    return _started(follow, answer)


def _waiting(path: str) -> Ask:
    def ask(client: httpx.Client, run: str) -> Open:
        answer: dict[str, Any] = {"begun": True}

        def wait() -> None:
            response = client.get(path.format(run), headers={"Prefer": "wait=120"})
            answer.update(status=response.status_code, text=response.text)

        return _started(wait, answer)

    return ask


def trigger(client: httpx.Client, run: str) -> Open:
    """Start another run, and wait for its end."""
    answer: dict[str, Any] = {"begun": True}

    def wait() -> None:
        response = client.post(
            "/run_templates/lab/runs",
            json={"parameters": {"deed": "wait", "path": f"{tempfile.gettempdir()}/pk-revocation-{os.getpid()}"}},
            headers={"Prefer": "wait=120"},
        )
        answer.update(status=response.status_code, text=response.text)

    return _started(wait, answer)


def _started(target: Callable[[], None], answer: dict[str, Any]) -> Open:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return Open(thread, answer)


def all_of(client: httpx.Client, run: str) -> dict[str, Open]:
    """Everything that can be left open, opened."""
    opened = {
        "stream": stream(client, run),
        "run": _waiting("/runs/{}")(client, run),
        "logs": _waiting("/runs/{}/logs?after=1000000")(client, run),
        "trigger": trigger(client, run),
    }
    for name, one in opened.items():
        eventually(lambda one=one: one.begun, what=f"{name} is open")
    return opened


@pytest.fixture(scope="module")
def lab(site: Site) -> Iterator[tuple[Site, str]]:
    """A run that goes on until this module is done."""
    path = site.home / "revocation"
    run = site.trigger("lab", {"deed": "wait", "path": str(path)})["id"]
    site.reaches(run, {"running"})
    yield site, run
    for one in site.get("/runs", state="running", size=200)["items"]:
        site.api.post(f"/runs/{one['id']}/cancel")
    Path(f"{tempfile.gettempdir()}/pk-revocation-{os.getpid()}").unlink(missing_ok=True)


def ends(opened: dict[str, Open], lose: Callable[[], Any]) -> None:
    """All of these go on until `lose` is called, and not after that."""
    time.sleep(2)  # slow: they are asked again several times, and go on
    assert [name for name, one in opened.items() if not one.goes_on] == []
    lose()
    lost = time.monotonic()
    for name, one in opened.items():
        one.thread.join(LATEST)
        assert not one.goes_on, f"{name} is still open after {time.monotonic() - lost:.1f} s"
    assert "event: end" not in opened["stream"].answer["text"]
    for name in ("run", "logs"):
        assert opened[name].answer["status"] == 401, (name, opened[name].answer)
    # The run was accepted, and that is what is told; not what became of it.
    assert opened["trigger"].answer["status"] == 202


def account(site: Site, name: str) -> tuple[str, httpx.Client]:
    key = site.key(name)
    return key, site.keyed(key)


def test_a_key_that_is_revoked(lab: tuple[Site, str]) -> None:
    site, run = lab
    _, client = account(site, "r1")
    ends(all_of(client, run), lambda: site.api.delete("/service_accounts/r1/api_keys/k").raise_for_status())


def test_a_key_that_is_rotated_without_grace(lab: tuple[Site, str]) -> None:
    site, run = lab
    _, client = account(site, "r2")
    ends(all_of(client, run), lambda: site.post("/service_accounts/r2/api_keys/k/rotate", {}))


def test_an_account_that_is_switched_off(lab: tuple[Site, str]) -> None:
    site, run = lab
    key, client = account(site, "r3")
    token = site.keyed(key).post("/login", json={"api_key": key}).json()["access_token"]
    opened = all_of(client, run)
    opened["token"] = stream(site.keyed(token), run)
    eventually(lambda: opened["token"].begun, what="the stream of the token")
    ends(opened, lambda: site.api.patch("/service_accounts/r3", json={"active": False}).raise_for_status())


def test_a_key_whose_time_is_over(lab: tuple[Site, str]) -> None:
    site, run = lab
    site.post("/service_accounts", {"name": "r4", "role": "operator"}, 201)
    made = site.post("/service_accounts/r4/api_keys", {"name": "k", "expires_in_days": 6 / 86400}, 201)
    opened = all_of(site.keyed(made["key"]), run)
    for one in opened.values():
        one.thread.join(20)
        assert not one.goes_on
    assert opened["run"].answer["status"] == 401


def test_a_role_that_is_taken_away(lab: tuple[Site, str]) -> None:
    site, run = lab
    _, client = account(site, "r5")
    opened = all_of(client, run)
    site.api.patch("/service_accounts/r5", json={"role": "none"}).raise_for_status()
    for name, one in opened.items():
        one.thread.join(LATEST)
        assert not one.goes_on, name
    assert opened["run"].answer["status"] in (403, 404)


def test_who_follows_is_told_why_it_ended(lab: tuple[Site, str]) -> None:
    site, run = lab
    key, _ = account(site, "r7")
    seen: list[str] = []
    raised: list[Exception] = []

    def follow() -> None:
        try:
            seen.extend(event.type for event in Client(site.url, key).runs.follow(run))
        except Exception as error:
            raised.append(error)

    following = threading.Thread(target=follow)
    following.start()
    environment = {**site.environment, "PENSTOCK_URL": site.url, "PENSTOCK_API_KEY": key}
    command = [sys.executable, "-m", "penstock", "run", "logs", "-f", run]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as typed:
        time.sleep(2)  # slow: both go on
        assert following.is_alive()
        site.api.delete("/service_accounts/r7/api_keys/k").raise_for_status()
        following.join(30)
        assert [type(error) for error in raised] == [Unauthenticated]
        assert "Log in" in typed.communicate(timeout=60)[1]
    assert typed.returncode == 4


@pytest.mark.parametrize("how", ["signing out", "another password", "being switched off"])
def test_the_session_of_a_person(lab: tuple[Site, str], how: str) -> None:
    site, run = lab
    name = f"p{how[:2]}{len(how)}"
    code = site.penstock("user", "create", name, "--role", "operator").stdout.strip()
    with browser_of(site) as first, browser_of(site) as other:
        activated = first.post("/users/activate", json={"code": code, "password": PASSWORD})
        assert activated.status_code == 201, activated.text
        for browser in (first, other):
            signed_in = browser.post("/sessions", json={"name": name, "password": PASSWORD})
            assert signed_in.status_code == 201, signed_in.text
            browser.headers["X-CSRF-Token"] = signed_in.json()["csrf_token"]
        another = {"current": PASSWORD, "new": f"another {PASSWORD}"}
        ways: dict[str, Callable[[], httpx.Response]] = {
            "signing out": lambda: first.delete("/sessions/current"),
            "another password": lambda: other.put("/me/password", json=another),
            "being switched off": lambda: site.api.patch(f"/users/{name}", json={"active": False}),
        }
        ends(all_of(first, run), lambda: ways[how]().raise_for_status())


def browser_of(site: Site) -> httpx.Client:
    return httpx.Client(base_url=f"{site.url}/api/v1", timeout=150)


def test_what_another_server_has_open(new_site: Callable[..., Site], tmp_path: Path) -> None:
    cluster = postgres.Cluster(next(iter(postgres.installed().values())))
    try:
        url = cluster.database()
        here, there = (new_site(PENSTOCK_DATABASE_URL=url, PENSTOCK_SHARED=str(tmp_path)) for _ in range(2))
        here.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
        run = here.trigger("lab", {"deed": "wait", "path": str(here.home / "other")})["id"]
        here.reaches(run, {"running"})
        opened = all_of(there.keyed(here.key("r6")), run)
        ends(opened, lambda: here.api.delete("/service_accounts/r6/api_keys/k").raise_for_status())
        for site in (here, there):
            site.stop()
    finally:
        cluster.remove()


def test_one_that_is_good_sees_the_end(fresh: Site) -> None:
    run = fresh.trigger("lab", {"deed": "wait", "path": str(fresh.home / "good")})["id"]
    fresh.reaches(run, {"running"})
    client = fresh.keyed(fresh.key("good"))
    opened = {"stream": stream(client, run), "run": _waiting("/runs/{}")(client, run)}
    eventually(lambda: opened["stream"].begun, what="the stream")
    time.sleep(2)  # slow: they are asked again several times
    (fresh.home / "good.go").touch()
    for one in opened.values():
        one.thread.join(60)
    assert "event: end" in opened["stream"].answer["text"]
    assert opened["run"].answer["status"] == 200
