"""Figures for Prometheus, read by its own parser."""

from __future__ import annotations

import os
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from penstock.control import journal, runs
from penstock.control.metrics import MOST_TEMPLATES
from penstock.model.run import Failure, RunState
from tests.unit.control.conftest import House


def figures(house: House) -> dict[tuple[str, ...], float]:
    """Sample name and label values -> value."""
    families = text_string_to_metric_families(house.here.metrics.text().decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_the_queue_is_looked_at_when_somebody_asks(daily: House) -> None:
    daily.here.metrics.watch(daily.here.db)
    assert figures(daily)["penstock_queue_oldest_seconds",] == 0.0
    daily.start()
    daily.start()
    found = figures(daily)
    assert found["penstock_runs", "queued"] == 2
    assert 0 < found["penstock_queue_oldest_seconds",] < 60
    assert found["penstock_runs_started_total", "daily"] == 2
    assert found["penstock_database_up",] == 1
    assert found["penstock_store_write_seconds_count",] == 2
    daily.claim()
    assert figures(daily)["penstock_runs", "starting"] == 1


def test_an_end_is_counted_once_with_its_state(daily: House) -> None:
    daily.start()
    run = daily.claim()
    with daily.here.db.write() as session:
        journal.lose(
            session,
            daily.here,
            replace(run, state=RunState.RUNNING, started=run.created),
            Failure(type="X", message=""),
        )
    queued = daily.start().run
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, queued.id)
    with daily.here.db.write() as session:
        runs.cancel(session, daily.here, queued.id)
    found = figures(daily)
    assert found["penstock_runs_ended_total", "failed", "daily"] == 1
    assert found["penstock_runs_ended_total", "cancelled", "daily"] == 1
    assert found["penstock_run_duration_seconds_count", "daily"] == 1


def test_templates_without_number_make_no_series_without_number(daily: House) -> None:
    run = daily.start().run
    for number in range(MOST_TEMPLATES + 20):
        daily.here.metrics.started(replace(run, template_name=f"t{number}"))
    daily.here.metrics.started(replace(run, template_name=None))
    found = {labels[1]: value for labels, value in figures(daily).items() if labels[0] == "penstock_runs_started_total"}
    assert len(found) == MOST_TEMPLATES + 2
    assert found["(other)"] == 21
    assert found["(none)"] == 1


def test_a_database_that_is_away_is_a_figure_too(house: House) -> None:
    house.here.metrics.watch(house.here.db)
    house.here.db.close()
    os.rename(house.here.db.where, house.here.db.where + ".away")
    os.mkdir(house.here.db.where)
    assert figures(house)["penstock_database_up",] == 0
