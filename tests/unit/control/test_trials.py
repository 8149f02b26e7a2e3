from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from penstock.control import companions, trials
from penstock.control import deployments as control
from penstock.control.tender import Tender
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.ids import new_id
from penstock.model.deployment import Deployment, DeploymentState, Plan, ServedRun, Standing
from penstock.model.deployment_settings import DeploymentSettings, EndpointSpec
from penstock.model.likeness import Comparing
from penstock.model.run import Event, Failure
from penstock.model.stack import Component
from penstock.model.tally import Slice, of_one, slice_at
from penstock.model.trial import Part, Rule, Trial, TrialOrder, TrialState, TrialWord
from penstock.store import deployments
from tests.unit.control.conftest import CONTENT, House
from tests.unit.control.test_tender import Yard


class Lab:
    """A house with the deployment `served`, and somebody who tends it."""

    def __init__(self, house: House) -> None:
        self.here = house.here
        self.yard = Yard()
        self.snapshots = [house.snapshot(replace(CONTENT, description=name)) for name in ("one", "two", "three")]
        self.tender = Tender(self.here, lambda _: self.yard)
        self.deploy(tags=("mine",), deployer=Component(flavor="local", options={"port": 8123}))

    def deploy(self, number: int = 0, **said: Any) -> Deployment:
        wish = control.Wish(name="served", snapshot=self.snapshots[number], **said)
        with self.here.db.write() as ws:
            made = control.deploy(ws, self.here, wish).deployment
        self.tender.tend()
        return made

    def start(self, kind: Any = "canary", number: int = 1, share: float = 0.5, **said: Any) -> Trial:
        attempt = trials.Attempt(kind=kind, snapshot=self.snapshots[number], share=share, **said)
        with self.here.db.write() as ws:
            return trials.start(ws, self.here, "served", attempt)

    def do(self, deed: Any, *given: Any) -> Any:
        with self.here.db.write() as ws:
            return deed(ws, *given)

    def hear(self, process: str, number: int, part: Part | None, **said: Any) -> TrialOrder | None:
        word = TrialWord(process=process, revision=1, number=number, part=part, trial_id=self.trial.id, **said)
        with self.here.db.write() as ws:
            return trials.hear(ws, self.here, self.get().id, word).order

    @property
    def trial(self) -> Trial:
        with self.here.db.read() as rs:
            return trials.get(rs, "served").trial

    def get(self, reference: str = "served") -> Deployment:
        with self.here.db.read() as rs:
            return deployments.get(rs, reference)

    def plan(self, known: Deployment) -> Plan:
        with self.here.db.read() as rs:
            return control.plan(rs, self.here, known)


@pytest.fixture
def lab(house: House) -> Lab:
    return Lab(house)


def failures(count: int) -> Part:
    at = slice_at(time.time(), 60.0)
    return Part(slices=(Slice(at=at, candidate=of_one(1, failed=True)),) * count)


def test_the_companion_is_made_tended_and_shown_with_its_trial_alone(lab: Lab) -> None:
    endpoint = EndpointSpec(path="/mine", handler="m:f", auth_required=False)
    settings = DeploymentSettings(auth="server", custom_endpoints=(endpoint,), uvicorn_host="0.0.0.0")
    started = lab.start(settings=settings)
    assert (started.state, started.settings, started.revision) == (TrialState.STARTING, settings, 1)
    lab.tender.tend()
    assert lab.trial.state is TrialState.RUNNING
    companion = lab.get(started.companion_id)
    assert (companion.companion_of, companion.tags, companion.auth) == (lab.get().id, ("mine",), True)
    plan = lab.yard.plans[companion.id]
    assert plan.seat is not None
    assert (plan.seat.deployment_name, plan.seat.kind) == ("served", "canary")
    assert [one.name for one in plan.keys] == ["trial"]
    assert (plan.settings.auth, plan.settings.custom_endpoints, plan.host) == ("keys", (), "127.0.0.1")
    assert lab.plan(lab.get()).seat is None
    for deed in (control.deprovision, control.roll_back, control.delete, trials.abort):
        with pytest.raises(Conflict, match="candidate"):
            lab.do(deed, lab.here, companion.name)
    with pytest.raises(Conflict, match="candidate"):
        lab.do(control.deploy, lab.here, control.Wish(name=companion.name, snapshot=lab.snapshots[2], update=True))
    with pytest.raises(Conflict, match="goes on already"):
        lab.start("mirror")
    aborted = lab.do(trials.abort, lab.here, "served")
    assert (aborted.state, aborted.share) == (TrialState.ABORTED, 0)
    lab.tender.tend()
    lab.tender.tend()
    with pytest.raises(NotFound):
        lab.get(companion.id)
    assert set(lab.yard.plans) == {lab.get().id}
    assert lab.start("mirror").state is TrialState.STARTING


def test_what_cannot_be_tried_is_refused(lab: Lab) -> None:
    with pytest.raises(NotFound):
        _ = lab.trial
    with pytest.raises(Conflict, match="No trial"):
        lab.do(trials.abort, lab.here, "served")
    with pytest.raises(InvalidInput, match="nothing of a mirror"):
        lab.start("mirror", rule=Rule())
    with pytest.raises(InvalidInput, match="nothing of a canary"):
        lab.start("canary", comparing=Comparing())
    with pytest.raises(InvalidInput, match="no share"):
        lab.start(share=1.5)
    lab.do(control.deprovision, lab.here, "served")
    with pytest.raises(Conflict, match="taken down"):
        lab.start()


def test_orders_are_for_those_who_serve_what_it_began_with(lab: Lab) -> None:
    lab.start(rule=Rule(min_requests=7))
    assert lab.hear("p", 0, None) is None  # the companion has no address yet
    lab.tender.tend()
    order = lab.hear("p", 0, None)
    assert order is not None
    assert (order.share, order.url, order.path, order.ready_path) == (0.5, "http://yard", "/invoke", "/ready")
    assert order.rule == Rule(min_requests=7)
    inside = Standing(state=DeploymentState.RUNNING, url="http://yard", inner_url="http://within:8000")
    lab.do(deployments.see, lab.trial.companion_id, inside)
    assert getattr(lab.hear("p", 0, None), "url", None) == "http://within:8000"
    companion = lab.get(lab.trial.companion_id)
    assert companions.digests(lab.here, companion.id) == lab.yard.plans[companion.id].keys
    assert order.key == companions.key(lab.here, companion.id)
    with lab.here.db.read() as rs:
        word = TrialWord(process="p", revision=2)
        assert trials.orders(rs, lab.here, lab.get().id, word).order is None
    assert lab.do(trials.set_share, "served", 0.75).share == 0.75
    assert (lab.hear("p", 0, None) or order).share == 0.75


def test_processes_that_each_know_too_little_are_added_up(lab: Lab) -> None:
    started = lab.start(rule=Rule(min_requests=10))
    lab.tender.tend()
    assert lab.hear("one", 1, failures(6)) is not None
    assert lab.hear("one", 1, failures(6)) is not None  # its answer was lost, and it is told again
    assert lab.hear("two", 1, failures(6)) is None
    assert lab.trial.state is TrialState.ROLLED_BACK
    assert "12 of 12 requests" in str(lab.trial.reason)
    with lab.here.db.read() as rs:
        assert trials.get(rs, "served").candidate.errors == 12
        assert [one.id for one in trials.history(rs, "served")] == [started.id]
    assert lab.get(started.companion_id).wanted == "deleted"
    assert lab.hear("three", 1, failures(1)) is None


def test_what_a_process_has_decided_holds(lab: Lab) -> None:
    lab.start()
    lab.tender.tend()
    assert lab.hear("one", 1, Part(), stopped="It failed.") is None
    assert (lab.trial.state, lab.trial.reason) == (TrialState.ROLLED_BACK, "It failed.")


def test_a_mirror_is_never_rolled_back(lab: Lab) -> None:
    lab.start("mirror")
    lab.tender.tend()
    assert lab.hear("one", 1, failures(100)) is not None
    assert lab.trial.state is TrialState.RUNNING


def test_the_candidate_becomes_the_next_revision_and_its_companion_goes_when_that_serves(lab: Lab) -> None:
    lab.start(settings=DeploymentSettings(sample=0.5))
    with pytest.raises(Conflict, match="not up"):
        lab.do(trials.promote, lab.here, "served")
    lab.tender.tend()
    made = lab.do(trials.promote, lab.here, "served")
    assert (made.snapshot_id, made.revision, made.settings.sample) == (lab.snapshots[1].id, 2, 0.5)
    assert lab.do(trials.promote, lab.here, "served").revision == 2
    assert (lab.trial.state, lab.trial.promoted_to) == (TrialState.PROMOTING, 2)
    assert lab.hear("old", 1, failures(100)) is not None  # it has been decided
    with pytest.raises(Conflict, match="decided"):
        lab.do(trials.set_share, "served", 0.1)
    with pytest.raises(Conflict, match="Roll the deployment back"):
        lab.do(trials.abort, lab.here, "served")
    lab.tender.tend()
    assert (lab.trial.state, lab.get().state) == (TrialState.PROMOTED, DeploymentState.RUNNING)
    assert lab.get(lab.trial.companion_id).wanted == "deleted"
    with lab.here.db.read() as rs:
        assert deployments.revisions(rs, made.id)[0].note == "Promoted after a trial (canary)."


def test_to_promote_what_is_served_already_is_no_revision(lab: Lab) -> None:
    lab.start("mirror", number=0)
    lab.tender.tend()
    assert lab.do(trials.promote, lab.here, "served").revision == 1
    assert lab.trial.state is TrialState.PROMOTED


@pytest.mark.parametrize("deed", ["update", "roll back", "deprovision", "delete"])
def test_a_deployment_that_changes_ends_its_trial(lab: Lab, deed: str) -> None:
    lab.deploy(2, update=True)
    companion = lab.start().companion_id
    lab.tender.tend()
    if deed == "update":
        lab.deploy(0, update=True)
    else:
        deeds = {"roll back": control.roll_back, "deprovision": control.deprovision, "delete": control.delete}
        lab.do(deeds[deed], lab.here, "served")
    if deed != "delete":
        assert lab.trial.state is TrialState.SUPERSEDED
    for _ in range(3):
        lab.tender.tend()
    with pytest.raises(NotFound):
        lab.get(companion)
    assert companion not in lab.yard.plans


def test_a_deployment_that_is_deleted_by_force_leaves_no_companion(lab: Lab) -> None:
    companion = lab.start().companion_id
    lab.tender.tend()
    with lab.here.db.write() as ws:
        control.delete(ws, lab.here, "served", force=True)
    lab.tender.tend()
    assert companion not in lab.yard.plans


def test_a_candidate_that_does_not_come_up_is_told_of(lab: Lab) -> None:
    started = lab.start()
    standing = Standing(state=DeploymentState.ERROR, reason="no model")
    lab.do(deployments.see, started.companion_id, standing)
    assert (lab.trial.state, lab.trial.reason) == (TrialState.ERROR, "no model")
    lab.do(deployments.see, started.companion_id, Standing(state=DeploymentState.PENDING, reason="building the image"))
    assert (lab.trial.state, lab.trial.reason) == (TrialState.STARTING, "building the image")
    assert lab.get().state is DeploymentState.RUNNING


def test_what_a_candidate_answered_the_deployment_answered_and_copies_say_so(lab: Lab) -> None:
    told = {}
    for kind in ("canary", "mirror"):
        companion = lab.start(kind).companion_id
        run = ServedRun(
            id=new_id(),
            name=f"by-{kind}",
            snapshot_id=lab.snapshots[1].id,
            created=lab.get().created,
            mirror_of="first" if kind == "mirror" else None,
            events=(
                Event(seq=1, at=lab.get().created, type="run_started"),
                Event(seq=2, at=lab.get().created, type="run_failed", error=Failure(type="E", message="m")),
            ),
        )
        lab.do(control.take_in, lab.here, companion, [run])
        told[kind] = run.id
        lab.do(trials.abort, lab.here, "served")
    first = lab.get()
    answered, copied = (House(lab.here).run(told[kind]).cause for kind in ("canary", "mirror"))
    assert (answered.deployment, answered.deployment_id, answered.mirror_of) == ("served", first.id, None)
    assert (copied.deployment, copied.mirror_of) == ("served", "first")
    assert copied.deployment_id not in (first.id, None)
