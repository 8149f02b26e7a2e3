from __future__ import annotations

import pytest

from penstock.control import deployments as control
from penstock.control.tender import Tender
from penstock.errors import NotFound, Unavailable
from penstock.model.deployment import Deployment, DeploymentState, Plan, Standing
from penstock.store import deployments
from tests.unit.control.conftest import House


class Yard:
    """A deployer that does what it is told at once, in memory."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.broken = False
        self.applied = 0
        self.held = True

    def apply(self, plan: Plan) -> None:
        if self.broken:
            raise Unavailable("The yard is closed.")
        self.applied += 1
        self.plans[plan.deployment_id] = plan

    def state(self, deployment_id: str) -> Standing:
        plan = self.plans.get(deployment_id)
        if plan is None:
            return Standing(state=DeploymentState.ABSENT)
        return Standing(state=DeploymentState.RUNNING, url="http://yard", revision=plan.revision, held=self.held)

    def logs(self, deployment_id: str, tail: int) -> list[str]:
        return []

    def remove(self, deployment_id: str) -> None:
        self.plans.pop(deployment_id, None)


@pytest.fixture
def yard() -> Yard:
    return Yard()


@pytest.fixture
def tender(house: House, yard: Yard) -> Tender:
    snapshot = house.snapshot()
    with house.here.db.write() as ws:
        control.deploy(ws, house.here, control.Wish(name="served", snapshot=snapshot))
    return Tender(house.here, lambda _: yard)


def found(house: House) -> Deployment:
    with house.here.db.read() as rs:
        return deployments.get(rs, "served")


def test_it_brings_up_what_is_wanted_and_tells_its_deployer_once(house: House, yard: Yard, tender: Tender) -> None:
    assert found(house).state is DeploymentState.PENDING
    for _ in range(3):
        assert not tender.tend()
    assert (found(house).state, found(house).url, yard.applied) == (DeploymentState.RUNNING, "http://yard", 1)


def test_what_is_only_begun_is_told_again_by_who_tends_it_next(house: House, yard: Yard, tender: Tender) -> None:
    yard.held = False
    for _ in range(3):
        tender.tend()
    assert yard.applied == 1
    after = Tender(house.here, lambda _: yard)
    after.tend()
    assert yard.applied == 2
    yard.held = True
    after.tend()
    Tender(house.here, lambda _: yard).tend()
    assert yard.applied == 2


def test_it_brings_up_again_what_is_gone(house: House, yard: Yard, tender: Tender) -> None:
    tender.tend()
    yard.plans.clear()
    tender.tend()
    assert (found(house).state, yard.applied) == (DeploymentState.RUNNING, 2)


def test_what_the_deployer_says_is_why_it_is_not_there_and_does_not_stay(
    house: House, yard: Yard, tender: Tender
) -> None:
    yard.broken = True
    tender.tend()
    assert (found(house).state, found(house).reason) == (DeploymentState.ERROR, "The yard is closed.")
    yard.broken = False
    tender.tend()
    assert (found(house).state, found(house).reason) == (DeploymentState.RUNNING, None)


def test_an_error_that_nobody_foresaw_in_one_does_not_stop_the_others(
    house: House, yard: Yard, tender: Tender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, snapshot = found(house).id, house.snapshot()
    with house.here.db.write() as ws:
        other = control.deploy(ws, house.here, control.Wish(name="other", snapshot=snapshot)).deployment
    state = yard.state

    def exhausted(deployment_id: str) -> Standing:
        if deployment_id == first:
            raise OSError(24, "Too many open files")
        return state(deployment_id)

    monkeypatch.setattr(yard, "state", exhausted)
    tender.tend()
    assert list(yard.plans) == [other.id]
    assert found(house).state is DeploymentState.PENDING
    assert "deployment served could not be seen to" in caplog.text
    monkeypatch.undo()
    tender.tend()
    assert found(house).state is DeploymentState.RUNNING


def test_it_takes_down_and_removes(house: House, yard: Yard, tender: Tender) -> None:
    tender.tend()
    with house.here.db.write() as ws:
        control.deprovision(ws, house.here, "served")
    tender.tend()
    assert (found(house).state, yard.plans) == (DeploymentState.ABSENT, {})
    with house.here.db.write() as ws:
        control.delete(ws, house.here, "served")
    tender.tend()
    with pytest.raises(NotFound):
        found(house)


def test_its_thread_sees_to_what_it_is_told_of_and_ends(house: House, tender: Tender) -> None:
    with house.here.bell.subscribe(found(house).id) as rung:
        tender.start()
        assert rung.wait(20)
    assert found(house).state is DeploymentState.RUNNING
    tender.stop()
    assert not tender.alive
