"""URLs of databases, and what a connection to each is told."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.store import engines


def told(url: str, monkeypatch: pytest.MonkeyPatch, **more: int) -> tuple[Any, dict[str, Any]]:
    """The engine for the URL, and what its connections are opened with."""
    kept: dict[str, Any] = {}
    create = engines.create_engine

    def create_engine(url: Any, **options: Any) -> Any:
        kept.update(options)
        return create(url, **options)

    monkeypatch.setattr(engines, "create_engine", create_engine)
    return engines.engine(url, 7, 10.0, **more), kept


def test_a_connection_to_postgresql_waits_for_nothing_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, options = told("postgresql://me@db/penstock", monkeypatch)
    assert (made.dialect.name, made.dialect.driver) == ("postgresql", "psycopg")
    assert (options["pool_size"], options["max_overflow"], options["pool_pre_ping"]) == (7, 0, True)
    assert options["connect_args"]["application_name"] == "penstock"
    assert options["connect_args"]["connect_timeout"] == 5
    assert options["connect_args"]["options"] == (
        "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=30000 -c lock_timeout=10000"
    )


def test_who_takes_a_whole_database_along_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    _, options = told("postgresql://me@db/penstock", monkeypatch, longest=0)
    assert "statement_timeout=0 -c idle_in_transaction_session_timeout=0 " in options["connect_args"]["options"]


def test_what_the_url_says_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    url = (
        "postgresql+psycopg://me@db/penstock?application_name=mine&connect_timeout=2&options=-c%20statement_timeout%3D5"
    )
    made, options = told(url, monkeypatch)
    assert {"application_name", "connect_timeout"}.isdisjoint(options["connect_args"])
    assert options["connect_args"]["options"].endswith("-c lock_timeout=10000 -c statement_timeout=5")
    assert made.url.query["application_name"] == "mine"


@pytest.mark.parametrize("url", ["postgres://me@db/penstock", "postgresql://me@db/penstock"])
def test_every_way_of_writing_it_means_the_same(url: str) -> None:
    assert engines.engine(url, 1, 1.0).url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://db/x", "does not work on mysql"),
        ("postgresql+psycopg2://db/x", "does not work on postgresql+psycopg2"),
        ("nothing", "Give a URL such as"),
        ("sqlite://", "a plain file"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(url: str, words: str) -> None:
    with pytest.raises(PenstockError, match=words.replace("+", r"\+")):
        engines.engine(url, 1, 1.0)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(engines, "create_engine", missing)
    with pytest.raises(PenstockError, match=r"pip install 'penstock\[postgres\]'"):
        engines.engine("postgresql://db/x", 1, 1.0)
