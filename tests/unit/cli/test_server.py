from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.client import local, login
from penstock.client.login import Login
from penstock.errors import Conflict, Unauthenticated
from penstock.model.launch import socket_path

INFO = {"version": "1.2.3", "pid": 7, "url": None, "runs_active": 2, "started": "2025-01-01T00:00:00Z"}


def test_up_becomes_the_server(penstock: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: became.append([program, *arguments]))
    monkeypatch.setenv("PENSTOCK_PORT", "9000")
    penstock("up")
    penstock("up", "--host", "0.0.0.0", "--port", "0")
    start = [sys.executable, sys.executable, "-P", "-m", "penstock.server", "--foreground"]
    assert became == [
        [*start, "--host", "127.0.0.1", "--port", "9000"],
        [*start, "--host", "0.0.0.0", "--port", "0"],
    ]


class TestDown:
    @pytest.mark.parametrize(("ran", "said"), [(True, "has stopped"), (False, "was not running")])
    def test_says_what_it_found(
        self, penstock: Any, home: Path, monkeypatch: pytest.MonkeyPatch, ran: bool, said: str
    ) -> None:
        asked: list[dict[str, bool]] = []

        def down(settings: Any, **options: bool) -> bool:
            asked.append(options)
            return ran

        monkeypatch.setattr(local, "down", down)
        done = penstock("down", "--wait")
        assert (done.status, asked) == (0, [{"wait": True, "cancel": False}])
        assert said in done.stderr

    def test_runs_under_way(self, penstock: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def down(settings: Any, **options: bool) -> bool:
            raise Conflict("1 run is under way.")

        monkeypatch.setattr(local, "down", down)
        done = penstock("down")
        assert (done.status, done.stderr) == (1, "Error: 1 run is under way.\n")

    def test_not_both(self, penstock: Any, home: Path) -> None:
        assert penstock("down", "--wait", "--cancel").status == 2


class TestStatus:
    def test_of_this_machine(self, penstock: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "status", lambda settings: INFO)
        done = penstock("status")
        assert done.status == 0
        assert "2 active, 0 queued" in done.stdout
        told = penstock("status", "-o", "json").json
        assert (told["running"], told["pid"]) == (True, 7)
        assert told["address"] == f"unix:{socket_path(home, 'server.sock')}"

    def test_nobody_there(self, penstock: Any, home: Path) -> None:
        done = penstock("status")
        assert (done.status, done.stdout) == (3, "")
        assert "penstock up" in done.stderr
        assert penstock("status", "-o", "json").json["running"] is False
        assert not (home / "server.sock").exists()

    def test_of_another(self, penstock: Any, server: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.on("GET", "/info", INFO)
        address = f"unix:{socket_path(home, 'server.sock')}"
        monkeypatch.setenv("PENSTOCK_URL", address)
        monkeypatch.setenv("PENSTOCK_API_KEY", "psk_x")
        assert f"Server   {address}" in penstock("status").stdout
        assert server.asked[0].headers["authorization"] == "Bearer psk_x"


class TestLogin:
    @pytest.fixture
    def url(self, server: Any, home: Path) -> str:
        server.on("GET", "/info", INFO)
        return f"unix:{socket_path(home, 'server.sock')}"

    def test_is_tried_and_stored_for_the_user_alone(self, penstock: Any, url: str, home: Path) -> None:
        done = penstock("login", url, "--api-key", "psk_x")
        assert done.status == 0
        assert login.read(home) == Login(url, "psk_x")
        assert stat.S_IMODE((home / "login.json").stat().st_mode) == 0o600
        assert "psk_x" not in done.stdout + done.stderr

    def test_a_refused_key_is_not_stored(self, penstock: Any, server: Any, url: str, home: Path) -> None:
        server.on("GET", "/info", Unauthenticated("The key is not valid."))
        assert penstock("login", url, "--api-key", "psk_x").status == 4
        assert login.read(home) is None

    def test_the_key_from_a_pipe(self, penstock: Any, url: str, home: Path) -> None:
        penstock("login", url, stdin="psk_piped\n")
        assert login.read(home) == Login(url, "psk_piped")

    def test_no_key_at_all(self, penstock: Any, url: str, home: Path) -> None:
        assert penstock("login", url, stdin="").status == 2

    def test_an_environment_that_goes_before_it(self, penstock: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_URL", "http://other")
        assert "goes before this login" in penstock("login", url, "--api-key", "psk_x").stderr

    def test_logout(self, penstock: Any, url: str, home: Path) -> None:
        penstock("login", url, "--api-key", "psk_x")
        assert penstock("logout").stderr == "Logged out.\n"
        assert login.read(home) is None
        assert penstock("logout").status == 0
