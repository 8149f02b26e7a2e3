"""Trials in every store: one at a time, whoever begins them at once, and figures of many processes that all count."""

from __future__ import annotations

from penstock.control import deployments as control
from penstock.control import trials
from penstock.errors import Conflict
from penstock.model.snapshot import Snapshot
from penstock.model.tally import Slice, of_one
from penstock.model.trial import Example, Part, Place, Rule, TrialState, TrialWord
from penstock.store import deployments
from penstock.store import trials as stored
from tests.contract.test_use_cases_at_once import at_once, daily  # noqa: F401  (a fixture)
from tests.unit.control.conftest import House
from tests.unit.store.samples import AT

MANY = 6


def begun(house: House, snapshot: Snapshot) -> str:
    """The id of the trial; or what kept it from beginning."""
    attempt = trials.Attempt(kind="canary", snapshot=snapshot, share=0.25, rule=Rule(max_error_rate=1))
    try:
        with house.here.db.write() as ws:
            return trials.start(ws, house.here, "served", attempt).id
    except Conflict as error:
        return error.detail


def test_of_many_who_begin_one_does_and_all_that_processes_tell_is_added_up(daily: House) -> None:  # noqa: F811
    here = daily.here
    snapshot = daily.snapshot()
    with here.db.write() as ws:
        served = control.deploy(ws, here, control.Wish(name="served", snapshot=snapshot)).deployment
    told = at_once(MANY, lambda _: begun(daily, snapshot))
    [trial_id] = {one for one in told if "goes on already" not in one}
    assert sum("goes on already" in one for one in told) == MANY - 1

    def tell(process: int) -> None:
        for number in (1, 1, 2):
            part = Part(
                slices=(Slice(at=5, first=of_one(0.1, failed=False), candidate=of_one(0.1, failed=True)),),
                places={"/outputs/\u0000a": Place(count=1, largest=0.5)},
                examples=(Example(at=AT, status=200, candidate_status=500),),
                compared=1,
            )
            word = TrialWord(process=str(process), revision=1, number=number, trial_id=trial_id, part=part)
            with here.db.write() as ws:
                trials.hear(ws, here, served.id, word)

    at_once(MANY, tell)
    with here.db.read() as rs:
        report = trials.get(rs, "served")
        assert (report.compared, report.first.requests, report.candidate.errors) == (2 * MANY, 2 * MANY, 2 * MANY)
        assert report.places == {"/outputs/\u0000a": Place(count=2 * MANY, largest=0.5)}
        assert (report.trial.rule, report.trial.share) == (Rule(max_error_rate=1), 0.25)
        assert stored.going(rs, served.id) is not None

    ended = at_once(MANY, lambda _: aborted(daily))
    assert ended.count("aborted") == 1
    with here.db.read() as rs:
        assert stored.going(rs, served.id) is None
        assert [one.state for one in stored.newest(rs, served.id)] == [TrialState.ABORTED]
    assert begun(daily, snapshot) != trial_id
    with here.db.write() as ws:
        deployments.remove(ws, served.id)  # its trials go with it
        assert stored.newest(ws, served.id) == []


def aborted(house: House) -> str:
    try:
        with house.here.db.write() as ws:
            return str(trials.abort(ws, house.here, "served").state)
    except Conflict as error:
        return error.detail
