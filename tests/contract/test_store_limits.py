"""Claiming by lanes: limits hold among many claimers, no template starves, a blocked one delays nobody."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from penstock.model.run import RunState
from penstock.store import limits, runs, templates
from penstock.store.limits import Place
from penstock.store.session import Database
from tests.contract.test_store_races import at_once
from tests.unit.store.samples import AT, a_run, a_template, frozen, later


def queued(db: Database, count: int, name: str = "t", limit: int | None = None, seconds: float = 0) -> str:
    """So many runs of a new template wait; its id."""
    with db.write() as ws:
        snapshot = frozen(ws)
        template = a_template(snapshot, name)
        templates.insert(ws, template)
        for number in range(count):
            at = later(seconds) + timedelta(microseconds=number)
            run = a_run(snapshot, template_id=template.id, template_name=name, created=at)
            runs.insert(ws, run, Place(lane=template.id, limit=limit, turn=at))
    return template.id


def test_no_more_than_the_limit_go_on_at_once(db: Database) -> None:
    queued(db, 20, limit=3)

    def work(number: int) -> int:
        done = 0
        while True:
            with db.write() as ws:
                claimed = runs.claim(ws, f"owner {number}", 2, later(60), at=later(number))
            with db.read() as rs:
                assert runs.count_active(rs) <= 3
            for run in claimed:
                with db.write() as ws:
                    runs.save(ws, replace(run, state=RunState.CANCELLED, lease_owner=None, lease_expires=None))
            done += len(claimed)
            with db.read() as rs:
                if not runs.has_queued(rs):
                    return done

    assert sum(at_once(6, work)) == 20


def test_fifty_templates_take_turns_however_long_one_is(db: Database) -> None:
    long = queued(db, 200, "long")
    others = [queued(db, 2, f"t{number}", seconds=1) for number in range(49)]
    with db.write() as ws:
        claimed = [
            run.template_id for look in range(15) for run in runs.claim(ws, "me", 10, later(60), at=later(10 + look))
        ]
    first, second = Counter(claimed[:50]), Counter(claimed[50:100])
    assert first == second == Counter([long, *others])
    assert claimed[100:] == [long] * 50


def test_a_blocked_template_delays_nobody_and_costs_little(db: Database) -> None:
    queued(db, 2000, "blocked", limit=1)
    free = queued(db, 1, "free", seconds=5)
    with db.write() as ws:
        claimed = runs.claim(ws, "me", 8, later(60), at=later(10))
        assert len(claimed) == 2
        assert claimed[1].template_id == free
        began = time.perf_counter()
        assert runs.claim(ws, "me", 8, later(60), at=later(11)) == []
        assert time.perf_counter() - began < 0.5


def test_a_limit_that_is_changed_holds_for_those_that_wait(db: Database) -> None:
    template = queued(db, 5, limit=1)
    with db.write() as ws:
        assert len(runs.claim(ws, "me", 9, later(60), at=AT)) == 1
        limits.set_limit(ws, template, 3)
        assert len(runs.claim(ws, "me", 9, later(60), at=AT)) == 2
        limits.set_limit(ws, template, None)
        assert len(runs.claim(ws, "me", 9, later(60), at=AT)) == 2
        assert limits.count_waiting(ws, template) == 0
        assert len(limits.holders(ws, template)) == 3
        assert len(limits.claims(ws, template)) == 5


def test_the_newest_accepted_are_counted_back(db: Database) -> None:
    template = queued(db, 3)
    with db.read() as rs:
        assert limits.accepted(rs, template, 3) == AT
        assert limits.accepted(rs, template, 1) == AT + timedelta(microseconds=2)
        assert limits.accepted(rs, template, 4) is None
