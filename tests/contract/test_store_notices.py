"""What one server rings, another one hears: over PostgreSQL, also after the connection or the database was gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from penstock.store import notices
from penstock.store.notices import Notices
from tests import postgres

PATIENCE = 20


class Ear:
    """A server that hears. `missed` counts how often it had to look at everything."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.topics: list[str] = []
        self.missed = 0

    def hear(self, *topics: str) -> None:
        with self._news:
            self.topics += topics
            self._news.notify_all()

    def miss(self) -> None:
        with self._news:
            self.missed += 1
            self._news.notify_all()

    def wait(self, for_what: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(for_what, PATIENCE), (self.topics, self.missed)


@contextmanager
def server(url: str) -> Iterator[tuple[Notices, Ear]]:
    ear = Ear()
    made = Notices(url, ear.hear, ear.miss)
    made.start()
    try:
        ear.wait(lambda: ear.missed == 1)
        yield made, ear
    finally:
        made.stop()


@pytest.fixture(params=postgres.installed())
def cluster(request: pytest.FixtureRequest, clusters: Callable[[str], postgres.Cluster]) -> postgres.Cluster:
    return clusters(request.param)


def test_each_hears_the_others_and_not_itself(cluster: postgres.Cluster) -> None:
    url = cluster.database()
    with server(url) as (one, own), server(url) as (_, other), server(cluster.database()) as (_, stranger):
        one.tell("a", "b")
        one.tell("c")
        other.wait(lambda: sorted(other.topics) == ["a", "b", "c"])
        assert own.topics == []
        assert stranger.topics == []


def test_many_topics_arrive_and_few_notices_carry_them(cluster: postgres.Cluster) -> None:
    url = cluster.database()
    with server(url) as (one, _), server(url) as (_, other):
        wanted = [f"{number:036}" for number in range(1000)]
        for topic in wanted:
            one.tell(topic)
        one.tell(*wanted)
        other.wait(lambda: set(other.topics) == set(wanted))


def test_what_was_told_last_is_heard(cluster: postgres.Cluster) -> None:
    url = cluster.database()
    with server(url) as (_, other):
        with server(url) as (one, _):
            one.tell("last")
        other.wait(lambda: other.topics == ["last"])


def test_a_lost_connection_is_made_anew(cluster: postgres.Cluster) -> None:
    url = cluster.database()
    with server(url) as (one, ear), server(url) as (_, other):
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        other.wait(lambda: other.missed == 2)
        ear.wait(lambda: ear.missed == 2)
        one.tell("again")
        other.wait(lambda: other.topics == ["again"])


def test_it_comes_back_with_the_database() -> None:
    binaries = next(iter(postgres.installed().values()))
    own = postgres.Cluster(binaries)
    try:
        url = own.database()
        with server(url) as (one, _), server(url) as (_, other):
            own.stop("immediate")
            one.tell("meanwhile")
            own.start()
            other.wait(lambda: other.missed >= 2)
            one.tell("after")
            other.wait(lambda: "after" in other.topics)
    finally:
        own.remove()


def test_a_connection_that_is_silent_is_tried(cluster: postgres.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "QUIET", 0.01)
    url = cluster.database()
    with server(url) as (one, _), server(url) as (_, other):
        for number in range(20):  # some arrive while a statement is executed
            one.tell(str(number))
            other.wait(lambda number=number: str(number) in other.topics)  # type: ignore[misc]
