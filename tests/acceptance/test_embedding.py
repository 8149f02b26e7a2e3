"""An application of somebody else's with our router in it, over real HTTP."""

from __future__ import annotations

import logging
import runpy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from penstock.client.client import Client
from penstock.fastapi import trigger_router
from tests.acceptance.site_under_test import PATIENCE, Site, eventually
from tests.receivers import receiver

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embedding" / "app.py"
KEYS = ["the first key of the callers", "the second key of the callers"]

Serve = Callable[[FastAPI], httpx.Client]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """A function that serves an application on a port of its own, and returns a client of it."""
    running: list[tuple[uvicorn.Server, threading.Thread, httpx.Client]] = []

    def start(app: FastAPI) -> httpx.Client:
        # Idle connections stay open for as long as a test may take: httpx does not repeat what it sent on one that closes.
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_keep_alive=600)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        eventually(lambda: server.started, what="the application serves")
        port = server.servers[0].sockets[0].getsockname()[1]
        limits = httpx.Limits(max_connections=None)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, limits=limits, trust_env=False)
        running.append((server, thread, client))
        return client

    yield start
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def penstock(site: Site) -> Client:
    return Client(site.url, site.key("the application"))


@pytest.fixture(scope="module")
def caller(serve: Serve, site: Site, penstock: Client) -> httpx.Client:
    """A caller with a good key of an application that offers `lab` under two names."""
    offered = {"lab": "lab", "first lab": "lab@v1", "gone": "no-such-template"}
    app = FastAPI()
    app.include_router(trigger_router(offered, api_keys=KEYS, client=penstock), prefix="/api")

    @app.get("/own")
    def own() -> str:
        return "own"

    client = serve(app)
    client.headers["X-API-Key"] = KEYS[1]
    return client


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(document)
    return document


def test_it_tells_what_can_be_started(caller: httpx.Client) -> None:
    items = {one["name"]: one for one in caller.get("/api/templates").json()["items"]}
    assert set(items) == {"lab", "first lab"}
    assert items["first lab"]["version"] == 1
    assert items["lab"]["description"] == "Do one deed and report."
    assert items["lab"]["steps"] == ["act", "report"]
    one = caller.get("/api/templates/lab").json()
    assert one == items["lab"]
    schema = caller.get("/api/templates/lab/schema").json()
    assert schema == one["parameter_schema"]
    assert set(schema["properties"]) == {"deed", "number", "path"}


def test_a_run_is_started_followed_and_waited_for(caller: httpx.Client) -> None:
    answer = caller.post("/api/templates/lab/runs", json={"parameters": {"number": 7}, "tags": ["mine"]})
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/api/runs/{run['id']}"
    assert (run["template"], run["version"], run["parameters"]["number"], run["tags"]) == ("lab", 1, 7, ["mine"])
    ended = caller.get(answer.headers["location"], headers={"Prefer": "wait=60"})
    assert ended.headers["preference-applied"] == "wait=60"
    assert (ended.json()["state"], ended.json()["outputs"]) == ("completed", {"output": {"value": 49}})


def test_the_caller_may_wait_at_once(caller: httpx.Client) -> None:
    answer = caller.post(
        "/api/templates/first lab/runs",
        json={"steps": {"act": {"parameters": {"number": 5}}}},
        headers={"Prefer": "wait=60"},
    )
    assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": {"value": 25}})


def test_no_body_means_the_defaults(caller: httpx.Client) -> None:
    answer = caller.post("/api/templates/lab/runs", headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": {"value": 4}})


def test_a_failed_run_tells_why_without_its_traceback(caller: httpx.Client) -> None:
    body = {"parameters": {"deed": "fail", "number": 13}}
    run = caller.post("/api/templates/lab/runs", json=body, headers={"Prefer": "wait=60"}).json()
    assert (run["state"], run["outputs"]) == ("failed", None)
    assert run["error"] == {"type": "ValueError", "message": "13 is a bad number", "step": "act"}


def test_a_wait_that_is_too_short_gives_the_run_as_it_stands(caller: httpx.Client, tmp_path: Path) -> None:
    body = {"parameters": {"deed": "wait", "path": str(tmp_path / "gate")}}
    answer = caller.post("/api/templates/lab/runs", json=body, headers={"Prefer": "wait=0.2"})
    assert (answer.status_code, answer.json()["ended"]) == (202, None)
    assert answer.headers["preference-applied"] == "wait=0.2"
    (tmp_path / "gate.go").touch()
    assert caller.get(answer.headers["location"], headers={"Prefer": "wait=60"}).json()["state"] == "completed"


def test_thirty_two_callers_at_once_get_their_own_results(caller: httpx.Client) -> None:
    together = threading.Barrier(32)

    def call(number: int) -> Any:
        together.wait()
        body = {"parameters": {"number": number}}
        return caller.post("/api/templates/lab/runs", json=body, headers={"Prefer": "wait=60"}).json()

    with ThreadPoolExecutor(32) as pool:
        runs = list(pool.map(call, range(32)))
    assert [run["outputs"] for run in runs] == [{"output": {"value": number**2}} for number in range(32)]
    assert len({run["id"] for run in runs}) == 32


def test_callers_who_wait_hold_up_nobody(caller: httpx.Client, tmp_path: Path) -> None:
    """More of them than the application has threads, all waiting for one run that goes on only at the end."""
    body = {"parameters": {"deed": "wait", "path": str(tmp_path / "gate")}}
    run = caller.post("/api/templates/lab/runs", json=body).json()
    entered = threading.Barrier(81)

    def wait(_: int) -> Any:
        entered.wait()
        return caller.get(f"/api/runs/{run['id']}", headers={"Prefer": "wait=60"}).json()

    with ThreadPoolExecutor(80) as pool:
        waiting = [pool.submit(wait, number) for number in range(80)]
        entered.wait()
        assert caller.get("/own").json() == "own"
        other = caller.post("/api/templates/lab/runs", json={"parameters": {"number": 6}}).json()
        assert caller.get(f"/api/runs/{other['id']}").json()["id"] == other["id"]
        assert [one.result() for one in waiting if one.done()] == []
        (tmp_path / "gate.go").touch()
        assert {(one.result()["id"], one.result()["state"]) for one in waiting} == {(run["id"], "completed")}


def test_one_key_is_one_run_however_often_and_at_once_it_comes(caller: httpx.Client) -> None:
    def post(_: int) -> str:
        headers = {"Idempotency-Key": "order 4711"}
        return str(
            caller.post("/api/templates/lab/runs", json={"parameters": {"number": 3}}, headers=headers).json()["id"]
        )

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(post, range(16)))) == 1
    reused = caller.post(
        "/api/templates/lab/runs", json={"parameters": {"number": 4}}, headers={"Idempotency-Key": "order 4711"}
    )
    assert problem(reused, 422)["type"] == "urn:penstock:problem:idempotency-key-reused"


def test_a_key_may_be_held_until_the_run_has_ended_and_refuse_others(caller: httpx.Client, tmp_path: Path) -> None:
    body = {"parameters": {"deed": "wait", "path": str(tmp_path / "held"), "number": 1}}
    headers = {"Idempotency-Key": "held", "Idempotency-Until": "terminal", "Idempotency-Conflict": "reject"}
    first = caller.post("/api/templates/lab/runs", json=body, headers=headers)
    assert first.status_code == 202
    assert caller.post("/api/templates/lab/runs", json=body, headers=headers).status_code == 409
    refused = caller.post("/api/templates/lab/runs", json=body, headers=headers | {"Idempotency-Conflict": "fight"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/headers/Idempotency-Conflict"
    (tmp_path / "held.go").touch()
    path = first.headers["location"].rpartition("/runs/")[2]
    assert caller.get(f"/api/runs/{path}", headers={"Prefer": "wait=30"}).json()["state"] == "completed"
    again = caller.post("/api/templates/lab/runs", json=body, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] != first.json()["id"]


def test_a_caller_who_lost_the_connection_finds_the_run_again(caller: httpx.Client, tmp_path: Path) -> None:
    body = {"parameters": {"deed": "wait", "path": str(tmp_path / "gate")}}
    headers = {"Idempotency-Key": f"again {tmp_path}", "Prefer": "wait=60"}
    with pytest.raises(httpx.ReadTimeout):
        caller.post("/api/templates/lab/runs", json=body, headers=headers, timeout=1)
    (tmp_path / "gate.go").touch()
    answer = caller.post("/api/templates/lab/runs", json=body, headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert (tmp_path / "gate").read_text().count("\n") == 1


@pytest.mark.parametrize("key", [None, "", "wrong", KEYS[0][:-1], KEYS[0].upper(), "\u00e9 is not ours"])
def test_without_a_good_key_nothing_is_answered_and_no_key_is_logged(
    caller: httpx.Client, site: Site, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before = site.get("/runs")["total"]
    headers = {} if key is None else {"X-API-Key": key.encode()}
    with httpx.Client(base_url=caller.base_url, timeout=PATIENCE, trust_env=False) as stranger:
        for method, path in [
            ("GET", "/api/templates"),
            ("GET", "/api/templates/lab"),
            ("GET", "/api/templates/lab/schema"),
            ("POST", "/api/templates/lab/runs"),
            ("GET", "/api/runs/x"),
        ]:
            answer = stranger.request(method, path, headers=headers, content=b"{ no json")
            assert problem(answer, 401)["type"] == "urn:penstock:problem:unauthenticated"
            assert answer.headers["www-authenticate"] == 'ApiKey in="X-API-Key"'
            assert not key or key not in answer.text
        assert stranger.get("/own").json() == "own"
    assert site.get("/runs")["total"] == before
    assert caller.get("/api/templates").status_code == 200
    assert not any(one in caplog.text for one in (*KEYS, key) if one)


def test_each_of_the_keys_is_good(caller: httpx.Client) -> None:
    for key in KEYS:
        assert caller.get("/api/templates", headers={"X-API-Key": key}).status_code == 200


@pytest.mark.parametrize("name", ["lap", "lab@v1", "gone", "LAB", "%2e%2e"])
def test_only_what_is_offered_can_be_started(caller: httpx.Client, name: str) -> None:
    for answer in (
        caller.post(f"/api/templates/{name}/runs", json={}),
        caller.get(f"/api/templates/{name}"),
        caller.get(f"/api/templates/{name}/schema"),
    ):
        assert problem(answer, 404)["errors"][0]["allowed"] == ["lab", "first lab", "gone"]


def test_runs_of_other_templates_are_not_there(caller: httpx.Client, site: Site) -> None:
    site.template(f"{EXAMPLE.parents[2]}/tests/acceptance/pipelines/lab.py:lab", "not offered")
    other = site.post("/run_templates/not offered/runs", {})
    problem(caller.get(f"/api/runs/{other['id']}"), 404)
    problem(caller.get("/api/runs/nothing"), 404)
    site.ended(other["id"])


BAD: list[tuple[Any, str, list[str] | None]] = [
    ({"parameters": {"nmber": 1}}, "/parameters/nmber", ["deed", "number", "path"]),
    ({"parameters": {"number": "one"}}, "/parameters/number", None),
    ({"steps": {"akt": {"parameters": {"number": 1}}}}, "/steps/akt", ["act", "report"]),
    ({"steps": {"act": {"params": {}}}}, "/steps/act/params", ["parameters"]),
    ({"steps": {"act": {"parameters": {"nr": 1}}}}, "/steps/act/parameters/nr", ["deed", "number", "path"]),
    ({"parametres": {}}, "/parametres", ["parameters", "steps", "preset", "run_name", "tags", "callback_url"]),
    ({"environment": {"PATH": "/tmp"}}, "/environment", None),
    ({"run_name": "../x"}, "/run_name", None),
    ([], "", None),
]


@pytest.mark.parametrize(("body", "pointer", "allowed"), BAD)
def test_bad_input_is_told_where_it_is_and_starts_nothing(
    caller: httpx.Client, site: Site, body: Any, pointer: str, allowed: list[str] | None
) -> None:
    before = site.get("/runs")["total"]
    document = problem(caller.post("/api/templates/lab/runs", json=body), 422)
    assert document["errors"][0]["pointer"] == pointer
    if allowed is not None:
        assert document["errors"][0]["allowed"] == allowed
    assert site.get("/runs")["total"] == before


@pytest.mark.parametrize("body", [b'{"parameters": ', b'{"tags": [], "tags": []}', b'{"parameters": {"number": NaN}}'])
def test_what_is_no_json_is_refused(caller: httpx.Client, body: bytes) -> None:
    answer = caller.post("/api/templates/lab/runs", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer, 400)["type"] == "urn:penstock:problem:malformed-request"


def test_what_is_wrong_with_the_application_is_not_told_to_its_callers(serve: Serve, site: Site) -> None:
    viewer = Client(site.url, site.key("only looks", role="viewer"))
    app = FastAPI()
    app.include_router(trigger_router(["lab"], api_keys=None, client=viewer), prefix="/looking")
    nowhere = Client("http://127.0.0.1:9", "no key")
    app.include_router(trigger_router(["lab"], api_keys=None, client=nowhere), prefix="/nowhere")
    caller = serve(app)
    refused = problem(caller.post("/looking/templates/lab/runs", json={}), 500)
    assert "only looks" not in str(refused)
    absent = caller.get("/nowhere/templates/lab")
    assert "127.0.0.1" not in str(problem(absent, 503))
    assert absent.headers["retry-after"] == "1"


def test_the_example_runs_as_it_stands(serve: Serve, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.template(f"{EXAMPLE.parents[2]}/tests/acceptance/pipelines/lab.py:lab", "daily-retraining")
    monkeypatch.setenv("PIPELINE_API_KEY", KEYS[0])
    monkeypatch.setenv("PENSTOCK_URL", site.url)
    monkeypatch.setenv("PENSTOCK_API_KEY", site.key("the example"))
    caller = serve(runpy.run_path(str(EXAMPLE))["app"])
    assert caller.get("/").json()["pipelines"] == "/pipelines/templates"
    headers = {"X-API-Key": KEYS[0], "Prefer": "wait=60"}
    answer = caller.post(
        "/pipelines/templates/daily-retraining/runs", json={"parameters": {"number": 9}}, headers=headers
    )
    assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": {"value": 81}})


def test_callers_are_called_back_where_that_is_offered_and_nowhere_else(
    caller: httpx.Client, serve: Serve, site: Site, penstock: Client
) -> None:
    app = FastAPI()
    app.include_router(trigger_router(["lab"], api_keys=KEYS, client=penstock, callbacks=True))
    offering = serve(app)
    offering.headers["X-API-Key"] = KEYS[0]
    with receiver() as desk:
        body = {"parameters": {"number": 4}, "callback_url": desk.url}
        refused = problem(caller.post("/api/templates/lab/runs", json=body), 422)
        assert refused["errors"][0]["pointer"] == "/callback_url"
        run = offering.post("/templates/lab/runs", json=body).json()
        eventually(lambda: desk.received, what="the caller is told")
    told = desk.received[0].checked(site.get("/callbacks/secret")["secret"])
    assert (told["data"]["id"], told["data"]["outputs"]) == (run["id"], {"output": {"value": 16}})
    wrong = problem(offering.post("/templates/lab/runs", json={"callback_url": "http://10.0.0.1/"}), 422)
    assert wrong["errors"][0]["pointer"] == "/callback_url"
