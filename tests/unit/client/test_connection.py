from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.client import local
from penstock.client.client import Client
from penstock.client.connection import PATIENCE, Connection, backoff, given, path
from penstock.errors import InvalidInput, PenstockError, ServerUnreachable, Unavailable
from penstock.model.pipeline import Pipeline

PIPELINE = {"id": "p1", "name": "train", "latest_snapshot_id": None, "created": "2025-01-01T00:00:00Z"}


class TestOnce:
    @pytest.fixture
    def connection(self, transport: Any) -> Connection:
        return Connection(transport=transport)

    @pytest.mark.parametrize("trouble", [ServerUnreachable("gone"), Unavailable("busy")])
    def test_repeats_with_the_same_key(
        self, connection: Connection, transport: Any, pauses: list[float], trouble: Exception
    ) -> None:
        transport.script = [trouble, trouble, PIPELINE]
        assert connection.once(Pipeline, "/x", key="k", json={"a": 1}).name == "train"
        assert [(one.headers["Idempotency-Key"], one.json) for one in transport.asked] == [("k", {"a": 1})] * 3
        assert pauses[1] > pauses[0]

    def test_gives_up_after_its_patience(self, connection: Connection, transport: Any, pauses: list[float]) -> None:
        transport.script = [ServerUnreachable("gone")]
        with pytest.raises(ServerUnreachable, match="gone"):
            connection.once(Pipeline, "/x", key="k")
        assert PATIENCE - 3 < sum(pauses) < PATIENCE + 3

    def test_what_the_server_decided_is_not_asked_again(self, connection: Connection, transport: Any) -> None:
        transport.script = [InvalidInput("no"), PIPELINE]
        with pytest.raises(InvalidInput):
            connection.once(Pipeline, "/x", key="k")
        assert len(transport.asked) == 1

    def test_keeps_other_headers(self, connection: Connection, transport: Any) -> None:
        transport.script = [PIPELINE]
        connection.once(Pipeline, "/x", key="k", headers={"Prefer": "wait=3"})
        assert transport.last.headers == {"Prefer": "wait=3", "Idempotency-Key": "k"}


class TestLocalServer:
    @pytest.fixture
    def attached(self, home: Path, transport: Any, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        attached: list[Path] = []

        def attach(settings: Any) -> Any:
            attached.append(settings.home)
            return transport

        monkeypatch.setattr(local, "attach", attach)
        transport.script = [PIPELINE]
        return attached

    def test_is_attached_at_the_first_request_and_kept(self, home: Path, attached: list[Path]) -> None:
        client = Client()
        assert attached == []
        client.pipelines.get("a")
        client.pipelines.get("a")
        assert attached == [home]

    def test_is_looked_for_again_after_a_while(self, attached: list[Path], pauses: list[float]) -> None:
        client = Client()
        client.pipelines.get("a")
        pauses.append(60)
        client.pipelines.get("a")
        assert len(attached) == 2

    def test_leaves_no_sockets_behind(self, attached: list[Path], transport: Any, pauses: list[float]) -> None:
        client = Client()
        for _ in range(3):
            client.pipelines.get("a")
            pauses.append(60)
        assert transport.closed == 2
        del client
        assert transport.closed == 3

    def test_is_looked_for_again_when_it_was_lost(self, attached: list[Path], transport: Any) -> None:
        client = Client()
        transport.script = [ServerUnreachable("left"), PIPELINE]
        with pytest.raises(ServerUnreachable):
            client.pipelines.get("a")
        client.pipelines.get("a")
        assert len(attached) == 2

    def test_that_cannot_start_is_no_lost_answer(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        def attach(settings: Any) -> Any:
            raise ServerUnreachable("does not start")

        monkeypatch.setattr(local, "attach", attach)
        with pytest.raises(ServerUnreachable, match="does not start"):
            Client().runs.start(pipeline="train")
        assert pauses == []


def test_an_answer_that_is_no_record_is_an_error_of_ours(client: Client, transport: Any) -> None:
    transport.script = [b"<html>nginx</html>"]
    with pytest.raises(PenstockError, match="Is it a Penstock server"):
        client.pipelines.get("train")


def test_path_escapes_its_parts() -> None:
    assert path("run_templates", "a b/c@v2", "runs") == "/run_templates/a%20b%2Fc@v2/runs"


def test_path_refuses_an_empty_part() -> None:
    with pytest.raises(InvalidInput, match="empty name"):
        path("runs", "")


def test_given_drops_only_none() -> None:
    assert given(a=None, b=0, c="", d=()) == {"b": 0, "c": "", "d": ()}


def test_backoff_grows_to_a_limit() -> None:
    pause = 0.05
    for _ in range(30):
        pause = backoff(pause)
    assert 1.4 < pause < 2.6
