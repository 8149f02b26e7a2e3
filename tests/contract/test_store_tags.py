"""Runs are found by their tags, together with all else that they are found by; in every store."""

from __future__ import annotations

from typing import Any

from penstock.ids import new_id
from penstock.model.run import Cause, RunState
from penstock.store import runs
from penstock.store.paging import Window
from penstock.store.runs import RunFilter
from penstock.store.session import Database
from tests.unit.store.samples import AT, a_run, frozen


def test_tags_with_any_other_filter_give_what_both_give(db: Database) -> None:
    with db.write() as ws:
        snapshot = frozen(ws)
        made = [
            a_run(
                snapshot,
                name=f"zebra {number}" if number % 3 else f"run {number}",
                state=RunState.FAILED if number % 2 else RunState.COMPLETED,
                template_id=new_id(),
                template_name="nightly" if number % 4 else "weekly",
                template_version=1 + number % 2,
                cause=Cause(account="ann" if number % 5 else "bob"),
                tags=tuple(tag for tag, every in (("all", 1), ("half", 2), ("few", 6)) if number % every == 0),
            )
            for number in range(24)
        ]
        for run in made:
            runs.insert(ws, run)
    others: list[dict[str, Any]] = [
        {},
        {"states": (RunState.FAILED,)},
        {"states": (RunState.COMPLETED,), "account": "ann"},
        {"template": "nightly", "version": 1},
        {"pipeline": made[0].pipeline_id},
        {"within": frozenset({"weekly"})},
        {"words": ("zebra",)},
        {"created_after": AT},
        {"created_before": AT},
    ]
    with db.read() as rs:
        for tags in (("all",), ("half",), ("all", "few"), ("half", "few", "half"), ("few", "no such")):
            tagged = [run for run in reversed(made) if set(tags) <= set(run.tags)]
            for other in others:
                fitting = {run.id for run in runs.page(rs, Window(size=200), RunFilter(**other)).items}
                both = [run for run in tagged if run.id in fitting]
                wanted = RunFilter(tags=tags, **other)
                assert list(runs.page(rs, Window(size=200), wanted).items) == both, wanted
                oldest = runs.page(rs, Window(size=200, oldest_first=True), wanted).items
                assert list(oldest) == both[::-1], wanted
                first = runs.page(rs, Window(size=2), wanted)
                assert first.total == len(both)
                if first.next is not None:
                    second = runs.page(rs, Window(size=2, cursor=first.next), wanted)
                    assert list(first.items + second.items) == both[:4], wanted
                if "words" not in other:
                    assert runs.count(rs, wanted) == len(both)
