"""A drill's database on a server is made for it, struck so that everybody notices, and gone afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from random import Random

import psycopg
import pytest

from penstock.drill.database import PostgreSQL, SQLite, at
from penstock.errors import PenstockError
from tests.postgres import Cluster, installed


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of somebody's database on a server."""
    cluster = Cluster(max(installed().items(), key=lambda one: int(one[0]))[1])
    yield cluster.database()
    cluster.remove()


def databases(url: str) -> set[str]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_without_a_url_it_is_the_file_in_the_home() -> None:
    assert at("").url == ""
    assert isinstance(at("sqlite:////somewhere/penstock.db"), SQLite)
    with pytest.raises(PenstockError):
        at("").strike(Random(0))


def test_it_is_another_database_and_is_dropped(server: str) -> None:
    before = databases(server)
    with closing(at(server)) as made:
        assert made.name.startswith("PostgreSQL ")
        [name] = databases(server) - before
        assert f"/{name}?" in made.url
        with psycopg.connect(made.url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE t (x int)")
            connection.commit()
            made.close()  # though somebody is still there
    assert databases(server) == before


def test_a_blow_ends_connections_and_keeps_new_ones_out_for_a_while(server: str) -> None:
    class Slow(Random):
        """Takes the longer of two ways, for half a second."""

        def choice(self, ways):  # type: ignore[no-untyped-def]
            return ways[-1]

        def uniform(self, a: float, b: float) -> float:
            return a

    with closing(PostgreSQL(server)) as made:
        url = made.url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            striking = threading.Thread(target=made.strike, args=(Slow(),))
            striking.start()
            with pytest.raises(psycopg.OperationalError):  # noqa: PT012 - whichever statement comes after the blow
                while striking.is_alive():
                    connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            psycopg.connect(url).close()
        striking.join()
        psycopg.connect(url).close()


def test_a_server_that_does_not_answer_is_told() -> None:
    with pytest.raises(PenstockError, match="does not let a drill in"):
        at("postgresql://nobody@127.0.0.1:1/nothing")
