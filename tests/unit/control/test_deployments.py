from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.control import deployments as control
from penstock.control.installation import now
from penstock.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from penstock.ids import new_id
from penstock.model.account import OWNER
from penstock.model.deployment import Deployment, DeploymentState, NewDeployment, ServedRun, Standing
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.run import Event
from penstock.model.stack import Component, Stack
from penstock.store import deployments, stacks
from tests.unit.control.conftest import CONTENT, House


def deploy(house: House, description: str = "one", pipeline: str = "train", **said: object) -> NewDeployment:
    snapshot = house.snapshot(replace(CONTENT, description=description, pipeline=pipeline))
    with house.here.db.write() as ws:
        return control.deploy(ws, house.here, control.Wish(**{"name": "served", "snapshot": snapshot} | said))  # type: ignore[arg-type]


def served(snapshot_id: str) -> ServedRun:
    began, ended = (Event(seq=seq, at=now(), type=type) for seq, type in ((1, "run_started"), (2, "run_completed")))  # type: ignore[arg-type]
    return ServedRun(id=new_id(), name="asked", snapshot_id=snapshot_id, created=now(), events=(began, ended))


def found(house: House) -> Deployment:
    with house.here.db.read() as rs:
        return deployments.get(rs, "served")


def seen(house: House, state: DeploymentState, reason: str | None = None) -> None:
    with house.here.db.write() as ws:
        deployments.see(ws, found(house).id, Standing(state=state, reason=reason))


def test_one_name_is_one_deployment_unless_an_update_is_meant(house: House) -> None:
    first = deploy(house).deployment
    with pytest.raises(Conflict, match="--update"):
        deploy(house)
    assert deploy(house, update=True).deployment == first
    second = deploy(house, "two", update=True).deployment
    assert (second.id, second.revision, second.state) == (first.id, 2, DeploymentState.PENDING)
    with pytest.raises(InvalidInput, match="deployer"):
        deploy(house, update=True, deployer=Component(flavor="elsewhere"))
    with pytest.raises(InvalidInput, match="deployer"):
        deploy(house, update=True, deployer=Component(flavor="local", options={"port": 8123}))
    deploy(house, update=True, deployer=Component(flavor="local"))  # where it is


def test_an_update_may_say_other_options_of_the_deployer_but_not_where_it_is(house: House) -> None:
    def at(**options: Any) -> Component:
        return Component(flavor="kubernetes", options={"namespace": "ml", **options})

    first = deploy(house, deployer=at(registry="registry.example/team")).deployment
    same = deploy(house, update=True, deployer=Component(flavor="kubernetes")).deployment
    assert (same.deployer, same.revision) == (first.deployer, 1)
    second = deploy(house, update=True, deployer=at(replicas=3)).deployment
    assert (second.id, second.deployer, second.revision) == (first.id, at(replicas=3), 2)
    with pytest.raises(InvalidInput, match="deployer"):
        deploy(house, update=True, deployer=at(namespace="other"))
    with pytest.raises(InvalidInput, match="deployer"):
        deploy(house, update=True, deployer=at(context="elsewhere"))


def test_the_stack_says_where_unless_it_is_said_otherwise(house: House) -> None:
    components = {
        "artifact_store": Component(flavor="file", options={"path": "/artifacts"}),
        "deployer": Component(flavor="docker", options={"memory": "1g"}),
        "image_builder": Component(flavor="docker", options={"base_image": "mine:1"}),
        "container_registry": Component(flavor="docker", options={"prefix": "registry.example.com/team"}),
    }
    with house.here.db.write() as ws:
        stacks.ensure(ws, Stack(id=new_id(), name="contained", components=components, created=now()))
    snapshot = house.snapshot(replace(CONTENT, stack="contained"))
    with house.here.db.write() as ws:
        made = control.deploy(ws, house.here, control.Wish(name="served", snapshot=snapshot)).deployment
    assert made.deployer == components["deployer"]
    with house.here.db.read() as rs:
        plan = control.plan(rs, house.here, made)
    assert (plan.image_builder, plan.container_registry) == (
        components["image_builder"],
        components["container_registry"],
    )
    assert Path(plan.archive) == house.here.code_directory / f"{CONTENT.code}.tar"
    assert deploy(house, name="other", deployer=Component(flavor="local")).deployment.deployer.flavor == "local"


def test_what_did_not_come_up_is_tried_again_when_it_is_asked_for_again(house: House) -> None:
    before = deploy(house).deployment
    seen(house, DeploymentState.ERROR, "no model")
    after = deploy(house, update=True).deployment
    assert (after.state, after.reason, after.revision) == (DeploymentState.PENDING, None, 1)
    assert after.updated > before.updated
    seen(house, DeploymentState.ERROR, "open to other machines")
    made = deploy(house, update=True, generate_auth_key=True)
    assert (made.deployment.state, made.deployment.auth) == (DeploymentState.PENDING, True)
    assert made.key


def test_back_to_what_was_served_before(house: House) -> None:
    first = deploy(house).deployment
    with house.here.db.write() as ws, pytest.raises(Conflict, match="nothing else"):
        control.roll_back(ws, house.here, "served")
    deploy(house, "two", update=True)
    with house.here.db.write() as ws:
        back = control.roll_back(ws, house.here, "served")
    assert (back.snapshot_id, back.revision) == (first.snapshot_id, 3)
    with house.here.db.write() as ws, pytest.raises(NotFound):
        control.roll_back(ws, house.here, "served", to=9)


def test_back_to_another_pipeline_is_back_to_all_of_it(house: House) -> None:
    first = deploy(house).deployment
    second = deploy(house, pipeline="score", update=True).deployment
    assert (second.pipeline_name, second.pipeline_id) != (first.pipeline_name, first.pipeline_id)
    with house.here.db.write() as ws:
        back = control.roll_back(ws, house.here, "served")
    assert (back.pipeline_id, back.pipeline_name) == (first.pipeline_id, "train")
    assert found(house) == back
    with house.here.db.read() as rs:
        assert control.plan(rs, house.here, back).snapshot.content.pipeline == "train"


def test_what_an_earlier_revision_was_asked_is_a_run_of_the_pipeline_that_it_served(house: House) -> None:
    first = deploy(house).deployment
    second = deploy(house, pipeline="score", update=True).deployment
    asked = {made.snapshot_id: served(made.snapshot_id) for made in (first, second)}
    with house.here.db.write() as ws:
        control.take_in(ws, house.here, "served", list(asked.values()))
    told = {one: house.run(run.id) for one, run in asked.items()}
    assert {one: (run.pipeline_id, run.pipeline_name) for one, run in told.items()} == {
        made.snapshot_id: (made.pipeline_id, made.pipeline_name) for made in (first, second)
    }


def test_a_service_reports_nothing_of_what_it_has_never_served(house: House) -> None:
    deploy(house)
    foreign = house.snapshot(replace(CONTENT, pipeline="payroll")).id
    for snapshot_id in (foreign, new_id()):
        run = served(snapshot_id)
        with pytest.raises(InvalidInput, match="never served") as refused, house.here.db.write() as ws:
            control.take_in(ws, house.here, "served", [run])
        assert [one["pointer"] for one in refused.value.errors] == ["/snapshot_id"]
        with pytest.raises(NotFound):
            house.run(run.id)


def test_keys_are_shown_once_and_held_as_hashes(house: House) -> None:
    with pytest.raises(InvalidInput, match="too short"):
        deploy(house, auth_key="short")
    made = deploy(house, auth_key="a key of sixteen letters")
    assert made.key == "a key of sixteen letters"
    with house.here.db.write() as ws:
        turned = control.rotate_key(ws, house.here, "served", "default", retain_minutes=5)
        assert {one.name for one in deployments.digests(ws, made.deployment.id)} == {"default"}
        assert len(deployments.digests(ws, made.deployment.id)) == 2
        control.revoke_key(ws, house.here, "served", "default")
        assert deployments.digests(ws, made.deployment.id) == ()
        with pytest.raises(NotFound):
            control.revoke_key(ws, house.here, "served", "default")
    assert turned.key != made.key
    assert found(house).auth


def test_what_is_being_deleted_is_gone_for_everybody_but_its_deployer(house: House) -> None:
    deploy(house)
    with house.here.db.write() as ws:
        control.delete(ws, house.here, "served")
        for change in (control.provision, control.deprovision, control.roll_back):
            with pytest.raises(NotFound):
                change(ws, house.here, "served")
    with pytest.raises(Conflict, match="being deleted"):
        deploy(house, update=True)


def test_its_service_is_known_by_its_token_until_it_is_deleted(house: House) -> None:
    made = deploy(house, settings=DeploymentSettings(auth="server")).deployment
    with house.here.db.read() as rs:
        plan = control.plan(rs, house.here, made)
    assert plan.auth
    assert control.authenticate(house.here, plan.token).deployment_id == made.id
    with house.here.db.write() as ws:
        control.delete(ws, house.here, "served", force=True)
    with pytest.raises(Unauthenticated):
        control.authenticate(house.here, plan.token)


def test_who_is_confined_to_templates_may_ask_what_serves_their_pipeline(house: House) -> None:
    house.template("served-as")
    house.template("other", replace(CONTENT, pipeline="other"))
    made = deploy(house).deployment
    with house.here.db.read() as rs:
        assert control.admit(rs, OWNER, "served").deployment_id == made.id
        assert control.admit(rs, replace(OWNER, within=frozenset({"served-as"})), "served").account == OWNER.name
        for within in ({"other"}, {"nothing"}):
            with pytest.raises(NotFound):
                control.admit(rs, replace(OWNER, within=frozenset(within)), "served")
