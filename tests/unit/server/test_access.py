"""Who may do what: every route of the live table, with every role, with every kind of narrowing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.control import accounts, templates
from penstock.control.installation import Installation
from penstock.model.account import ROLES, Permission
from penstock.store import callbacks
from penstock.store.paging import Window
from tests.unit.control.conftest import CONTENT, House
from tests.unit.control.conftest import house as house_of_control
from tests.unit.server.conftest import ask
from tests.unit.server.test_app import OPEN, table

house = house_of_control  # an installation with snapshots and templates, besides


@pytest.fixture
def app(house: House) -> FastAPI:
    from penstock.server.app import create_app  # here: an import of the whole server, for this fixture alone

    return create_app(house.here)


def key(here: Installation, name: str, *, scopes: Any = None, templates: Any = None, **account: Any) -> str:
    with here.db.write() as session:
        made = accounts.create(session, name=name, **account)
        return accounts.create_key(session, made, accounts.KeyWish(name="k", scopes=scopes, templates=templates)).key


def with_key(app: FastAPI, text: str) -> Callable[..., httpx.Response]:
    def send(method: str, path: str, **options: Any) -> httpx.Response:
        given = {"Authorization": f"Bearer {text}", **options.pop("headers", {})}
        return ask(app, method, f"/api/v1{path}", headers=given, **options)

    return send


def filled(path: str) -> str:
    return path.replace("{", "no-").replace("}", "").replace(":path", "")


@pytest.mark.parametrize("role", ROLES)
def test_every_route_with_every_role(app: FastAPI, house: House, role: Any) -> None:
    """A role is refused exactly where its permissions do not reach; an open route is one of an exact list."""
    text = key(house.here, f"a-{role}", role=role)
    for method, path, rule in table(app):
        if rule is None:
            assert (method, path) in OPEN
            continue
        answer = ask(app, method, filled(path), headers={"Authorization": f"Bearer {text}"})
        allowed = rule.permission in ROLES[role]
        assert (answer.status_code == 403) is not allowed, (method, path, role, answer.text)
        assert answer.status_code != 401, (method, path)


def test_every_route_with_a_key_for_one_template(app: FastAPI, house: House) -> None:
    """What is about no template is refused; what is about one answers as if nothing else were there."""
    house.template("mine")
    house.template("other")
    others = house.start("other").run
    text = key(house.here, "narrow", role="admin", templates=["mine"])
    for method, path, rule in table(app):
        if rule is None or rule.permission is Permission.EXECUTE:
            continue
        at = path.replace("{alias}", "latest").replace("/cancel", "/cancel") if rule.about == "template" else path
        at = at.replace("{reference}", "other" if rule.about == "template" else others.id)
        answer = ask(app, method, filled(at), headers={"Authorization": f"Bearer {text}"})
        if rule.about is None:
            assert answer.status_code == 403, (method, path, answer.text)
        elif rule.about not in ("list", "any"):
            assert answer.status_code == 404, (method, path, answer.text)
            assert "other" not in answer.json()["detail"].replace("'other'", ""), answer.text


def test_what_is_not_there_and_what_is_not_theirs_answer_alike(app: FastAPI, house: House) -> None:
    house.template("mine")
    house.template("other")
    others = house.start("other").run
    send = with_key(app, key(house.here, "narrow", role="operator", templates=["mine"]))

    def told(method: str, path: str, name: str, **options: Any) -> tuple[int, str]:
        answer = send(method, path.replace("X", name), **options)
        return answer.status_code, answer.text.replace(name, "X")

    missing = "00000000-0000-7000-8000-000000000000"
    for path in ("/runs/X", "/runs/X/steps", "/runs/X/logs", "/runs/X/events", "/runs/X/why", "/runs/X/diff?with=X"):
        assert told("GET", path, others.id) == told("GET", path, missing), path
    for path in ("/runs/X/cancel", "/runs/X/replay"):
        assert told("POST", path, others.id) == told("POST", path, missing), path
    for path in ("/run_templates/X", "/run_templates/X/usage", "/run_templates/X/openapi.json"):
        assert told("GET", path, "other") == told("GET", path, "otter"), path
    assert told("POST", "/run_templates/X/runs", "other") == told("POST", "/run_templates/X/runs", "otter")
    for body in ({"template": "X"}, {"snapshot_id": "X"}, {"pipeline": "X"}):

        def with_name(name: str, body: dict[str, str] = body) -> tuple[int, str]:
            return told("POST", "/runs", name, json=dict.fromkeys(body, name))

        assert with_name("other") == with_name("otter")
        assert with_name("otter")[0] == 404


def test_lists_and_counts_show_nothing_of_others(app: FastAPI, house: House) -> None:
    house.template("mine")
    house.template("other")
    mine = [house.start("mine").run.id for _ in range(3)]
    for _ in range(5):
        house.start("other")
    send = with_key(app, key(house.here, "narrow", role="operator", templates=["mine"]))
    page = send("GET", "/runs?size=2").json()
    rest = send("GET", f"/runs?size=2&cursor={page['next']}").json()
    assert {run["id"] for run in page["items"] + rest["items"]} == set(mine)
    assert (page["total"], rest["next"]) == (3, None)
    assert [one["name"] for one in send("GET", "/run_templates").json()["items"]] == ["mine"]
    assert send("GET", "/runs?template=other").json()["total"] == 0
    assert send("GET", "/artifacts").json()["total"] == 0
    assert send("GET", "/step_runs").json()["total"] == 0
    assert set(send("GET", "/info").json()) == {"version", "started"}
    cancelled = send("POST", "/runs/cancel", json={"all": True}).json()
    assert {one["run_id"] for one in cancelled["items"]} == set(mine)


def test_a_trigger_of_mine_is_started_and_one_of_others_is_not(app: FastAPI, house: House) -> None:
    house.template("mine")
    house.template("other")
    send = with_key(app, key(house.here, "narrow", role="operator", templates=["mine"]))
    assert send("POST", "/run_templates/mine/runs").status_code == 202
    assert send("POST", "/runs", json={"template": "mine"}).status_code == 202
    assert send("POST", "/runs/plan", json={"template": "mine"}).status_code == 200
    before = house.total()
    for body in ({"template": "other"}, {"template": "other@v1"}, {"pipeline": "train"}):
        assert send("POST", "/runs", json=body).status_code == 404, body
        assert send("POST", "/runs/plan", json=body).status_code == 404, body
    assert house.total() == before
    decided = send("GET", "/decisions").json()["items"]
    assert {one["template"] for one in decided} == {"mine"}


def test_a_role_on_one_template_goes_beyond_the_role_elsewhere(app: FastAPI, house: House) -> None:
    house.template("mine")
    house.template("other")
    send = with_key(app, key(house.here, "granted", role="viewer", grants={"mine": "operator"}))
    assert send("GET", "/runs").status_code == 200  # a viewer of everything
    assert send("GET", "/run_templates/other").status_code == 200
    assert send("POST", "/run_templates/mine/runs").status_code == 202
    assert send("POST", "/run_templates/other/runs").status_code == 404
    only = with_key(app, key(house.here, "only", role="none", grants={"mine": "editor"}))
    assert [one["name"] for one in only("GET", "/run_templates").json()["items"]] == ["mine"]
    assert only("PATCH", "/run_templates/mine", json={"add_tags": ["t"]}).status_code == 200
    assert only("PATCH", "/run_templates/other", json={"add_tags": ["t"]}).status_code == 404
    assert only("GET", "/pipelines").status_code == 403


@pytest.mark.parametrize(
    ("scopes", "allowed", "refused"),
    [
        (["run"], [("POST", "/run_templates/mine/runs")], [("GET", "/runs"), ("PATCH", "/run_templates/mine")]),
        (["read"], [("GET", "/runs"), ("GET", "/pipelines")], [("POST", "/run_templates/mine/runs")]),
        (["read:runs"], [("GET", "/runs")], [("GET", "/run_templates"), ("GET", "/artifacts")]),
        (
            ["run:run_templates", "read:info"],
            [("POST", "/run_templates/mine/runs"), ("GET", "/info")],
            [("POST", "/runs")],
        ),
    ],
)
def test_a_key_is_good_for_its_scopes_alone(
    app: FastAPI, house: House, scopes: list[str], allowed: Any, refused: Any
) -> None:
    house.template("mine")
    send = with_key(app, key(house.here, "scoped", role="admin", scopes=scopes))
    for method, path in allowed:
        assert send(method, path).status_code < 300, (method, path)
    for method, path in refused:
        assert send(method, path).status_code == 403, (method, path)


def test_a_key_is_never_more_than_its_account_is_now(app: FastAPI, house: House) -> None:
    house.template("mine")
    send = with_key(app, key(house.here, "once", role="admin", scopes=["run", "manage"]))
    assert send("GET", "/service_accounts").status_code == 200
    with house.here.db.write() as session:
        accounts.change(session, "once", accounts.Change(role="viewer"))
    assert send("GET", "/service_accounts").status_code == 403
    assert send("POST", "/run_templates/mine/runs").status_code == 403
    with house.here.db.write() as session:
        accounts.change(session, "once", accounts.Change(active=False))
    assert send("GET", "/runs").status_code == 401


def test_mistakes_in_roles_grants_and_scopes_are_told(app: FastAPI, house: House) -> None:
    send = with_key(app, key(house.here, "root", role="admin"))
    bad = send("POST", "/service_accounts", json={"name": "a", "grants": {"t": "admin", "../x": "viewer"}})
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["allowed"] == ["viewer", "operator", "editor"]
    assert send("POST", "/service_accounts", json={"name": "a"}).status_code == 201
    for wrong in ({"scopes": ["raed"]}, {"scopes": []}, {"templates": []}, {"templates": ["a/b"]}, {"owner": 1}):
        answer = send("POST", "/service_accounts/a/api_keys", json={"name": "k", **wrong})
        assert answer.status_code == 422, wrong
    hint = send("POST", "/service_accounts/a/api_keys", json={"name": "k", "scopes": ["raed"]}).json()["errors"][0]
    assert hint["did_you_mean"] == "read"
    made = send(
        "POST", "/service_accounts/a/api_keys", json={"name": "k", "scopes": ["run"], "templates": ["x"]}
    ).json()
    assert made["key"].startswith(made["record"]["prefix"] + "_")
    assert (made["record"]["scopes"], made["record"]["templates"]) == (["run"], ["x"])


@pytest.mark.parametrize("field", ["kind", "id", "created", "is_admin", "owner_id"])
def test_nobody_makes_themselves_something_else_by_a_field(app: FastAPI, house: House, field: str) -> None:
    send = with_key(app, key(house.here, "root", role="admin"))
    assert send("PATCH", "/service_accounts/root", json={field: "owner"}).status_code == 422
    assert send("POST", "/service_accounts", json={"name": "b", field: "owner"}).status_code == 422


class TestRunTokens:
    @pytest.fixture
    def running(self, house: House) -> Any:
        house.template("mine")
        frozen = house.snapshot(replace(CONTENT, pipeline="score"))
        with house.here.db.write() as session:
            templates.publish(session, templates.Publication(name="child", snapshot=frozen.id))
        house.start("mine")
        return house.claim()

    def token(self, house: House, run: Any) -> str:
        return house.here.signer.sign("run", run.id, lifetime=60, fence=run.fence)

    def test_it_reaches_its_own_run_and_no_other(self, app: FastAPI, house: House, running: Any) -> None:
        other = house.start("mine").run
        send = with_key(app, self.token(house, running))
        assert send("GET", f"/runs/{running.id}").status_code == 200
        assert send("GET", f"/runs/{other.id}").status_code == 404
        assert send("POST", f"/runs/{other.id}/cancel").status_code == 404
        batch = {"fence": other.fence, "events": []}
        assert send("POST", f"/runs/{other.id}/events", json=batch).status_code in (403, 422)

    def test_it_starts_children_of_its_own_run_and_sees_them(self, app: FastAPI, house: House, running: Any) -> None:
        other = house.start("mine").run
        send = with_key(app, self.token(house, running))
        step = {"run_id": running.id, "step": "fit"}
        child = send("POST", "/runs", json={"template": "child", "step_run": step})
        assert child.status_code == 202
        assert child.json()["cause"]["parent_run_id"] == running.id
        assert send("GET", f"/runs/{child.json()['id']}").status_code == 200
        assert send("POST", f"/runs/{child.json()['id']}/cancel").status_code == 202
        foreign = {"run_id": other.id, "step": "fit"}
        assert send("POST", "/runs", json={"template": "mine", "step_run": foreign}).status_code == 403

    def test_it_opens_nothing_besides(self, app: FastAPI, house: House, running: Any) -> None:
        text = self.token(house, running)
        for method, path, rule in table(app):
            if rule is None or rule.runs:
                continue
            answer = ask(app, method, filled(path), headers={"Authorization": f"Bearer {text}"})
            assert answer.status_code == 403, (method, path, answer.text)

    def test_it_dies_with_its_run_and_with_its_claim(self, app: FastAPI, house: House, running: Any) -> None:
        stale = with_key(app, house.here.signer.sign("run", running.id, lifetime=60, fence=running.fence - 1))
        assert stale("GET", f"/runs/{running.id}").status_code == 401
        send = with_key(app, self.token(house, running))
        assert send("GET", f"/runs/{running.id}").status_code == 200
        with house.here.db.write() as session:
            from penstock.control import journal  # here: for this test alone
            from penstock.model.run import Failure
            from penstock.store import runs

            journal.lose(session, house.here, runs.get(session, running.id), Failure(type="X", message="gone"))
        assert send("GET", f"/runs/{running.id}").status_code == 401
        assert send("POST", "/runs", json={"template": "mine"}).status_code == 401


def test_callbacks_of_other_templates_are_not_there(app: FastAPI, house: House) -> None:
    found = {}
    for name in ("mine", "other"):
        house.template(name)
        run = house.start(name, callback=f"http://127.0.0.1:9/{name}").run
        with house.here.db.read() as session:
            [found[name]] = callbacks.page(session, Window(), run_id=run.id).items
    send = with_key(app, key(house.here, "narrow", role="admin", templates=["mine"]))
    assert [one["id"] for one in send("GET", "/callbacks").json()["items"]] == [found["mine"].id]
    assert send("GET", f"/callbacks/{found['mine'].id}").status_code == 200
    assert send("GET", f"/runs/{found['mine'].run_id}/callbacks").json()["items"][0]["id"] == found["mine"].id
    other = found["other"]
    for method, path in (
        ("GET", f"/callbacks/{other.id}"),
        ("POST", f"/callbacks/{other.id}/redeliver"),
        ("GET", f"/runs/{other.run_id}/callbacks"),
    ):
        assert send(method, path).status_code == 404, path
    assert send("GET", "/callbacks/secret").status_code == 403
