"""People: from a server that nobody has an account on, to a command line that was let in from a browser."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.acceptance.site_under_test import Site, eventually

PASSWORD = "correct horse battery"


def command(site: Site, home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command line of somebody else on the network: another home, and no socket."""
    environment = {**site.environment, "PENSTOCK_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def code_in(site: Site) -> str:
    said = eventually(lambda: re.search(r"for a day: (\S+)", (site.home / "server.out").read_text()), what="the code")
    assert said is not None
    return said[1]


@pytest.fixture
def served(new_site: Callable[..., Site]) -> Site:
    return new_site()


def test_the_first_person_invites_others_and_each_gets_what_is_theirs(served: Site, tmp_path: Path) -> None:
    activate = ["user", "activate", "--url", served.url]
    made = command(served, tmp_path, *activate, "--name", "ada", stdin=f"{code_in(served)}\n{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    assert "ada has a password now" in made.stderr
    again = command(served, tmp_path, *activate, "--name", "eve", stdin=f"{code_in(served)}\n{PASSWORD}\n")
    assert again.returncode != 0
    invited = served.penstock("user", "create", "grace", "--role", "viewer").stdout.strip()
    assert command(served, tmp_path, *activate, stdin=f"{invited}\n{PASSWORD}\n").returncode == 0
    with httpx.Client(base_url=f"{served.url}/api/v1", timeout=60) as browser:
        signed_in = browser.post("/sessions", json={"name": "grace", "password": PASSWORD})
        assert signed_in.status_code == 201
        browser.headers["X-CSRF-Token"] = signed_in.json()["csrf_token"]
        assert browser.get("/runs").status_code == 200
        assert browser.post("/service_accounts", json={"name": "x"}).status_code == 403
        served.penstock("user", "change", "grace", "--role", "admin")
        assert browser.post("/service_accounts", json={"name": "x"}).status_code == 201
        served.penstock("user", "change", "grace", "--inactive")
        assert browser.get("/runs").status_code == 401
    database = b"".join(file.read_bytes() for file in served.home.glob("penstock.db*"))
    assert PASSWORD.encode() not in database
    for file in (served.home, served.home / "penstock.db", served.home / "secret.key"):
        assert file.stat().st_mode & 0o077 == 0, file
    log = json.loads(served.penstock("audit", "list", "--account", "grace", "-o", "json").stdout)["items"]
    assert [(one["action"], one["outcome"]) for one in log] == [
        ("create_service_account", "done"),
        ("create_service_account", "refused"),
        ("sign_in", "done"),
        ("activate", "done"),
    ]
    served.kill()
    served.restart()
    assert served.penstock("audit", "verify").returncode == 0


def test_a_command_line_is_let_in_from_a_browser(served: Site, tmp_path: Path) -> None:
    command(
        served,
        tmp_path,
        "user",
        "activate",
        "--url",
        served.url,
        "--name",
        "ada",
        stdin=f"{code_in(served)}\n{PASSWORD}\n",
    )
    environment = {**served.environment, "PENSTOCK_HOME": str(tmp_path / "laptop")}
    login = subprocess.Popen(
        [sys.executable, "-m", "penstock", "login", served.url, "--device"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert login.stderr is not None
    said = login.stderr.readline() + login.stderr.readline()
    address = re.search(r"straight to (\S+)", said)
    assert address, said
    with httpx.Client(timeout=60) as browser:
        page = browser.get(address[1])
        assert "Sign in" in page.text
        code = html.unescape(str(re.search(r'name="code" value="([^"]*)"', page.text)[1]))  # type: ignore[index]
        there = address[1].partition("?")[0]
        browser.post(there, data={"code": code, "name": "ada", "password": PASSWORD}, follow_redirects=True)
        page = browser.get(address[1])
        assert "penstock on" in page.text
        token = re.search(r'name="csrf_token" value="([^"]*)"', page.text)
        assert token
        answered = browser.post(there, data={"code": code, "csrf_token": token[1], "answer": "approve"})
        assert "let in as ada" in answered.text
    _, rest = login.communicate(timeout=60)
    assert login.returncode == 0, rest
    stored = tmp_path / "laptop" / "login.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert json.loads(stored.read_text())["api_key"].startswith("psk_")
    listed = command(served, tmp_path / "laptop", "service-account", "list", "-o", "json")
    assert json.loads(listed.stdout)["items"] == []


def test_two_servers_have_nothing_in_common(new_site: Callable[..., Site], served: Site) -> None:
    other = new_site()
    key = served.key()
    token = httpx.post(f"{served.url}/api/v1/login", json={"api_key": key}).json()["access_token"]
    for credential in (key, token):
        bearer = {"Authorization": f"Bearer {credential}"}
        assert httpx.get(f"{served.url}/api/v1/runs", headers=bearer).status_code == 200
        assert httpx.get(f"{other.url}/api/v1/runs", headers=bearer).status_code == 401
    assert code_in(served) != code_in(other)
    secrets = [(one.home / "secret.key") for one in (served, other)]
    assert secrets[0].read_bytes() != secrets[1].read_bytes()
    assert all(os.stat(file).st_mode & 0o777 == 0o600 for file in secrets)
