"""Triggering over HTTP: what is answered, what is refused, and that every run gets its own values."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, get_args

import pytest

from penstock.model.configuration import PipelineRunConfiguration, StepConfiguration
from tests.acceptance.pipelines.lab import Deed
from tests.acceptance.site_under_test import Site

RUN_FIELDS = [*(one.name for one in fields(PipelineRunConfiguration)), "callback_url"]
STEP_FIELDS = [one.name for one in fields(StepConfiguration)]


def test_a_run_is_accepted_carried_out_and_has_its_outputs(site: Site) -> None:
    answer = site.api.post("/run_templates/lab/runs", json={"parameters": {"number": 7}})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/runs/{answer.json()['id']}"
    run = site.ended(answer.json()["id"])
    assert (run["state"], run["outputs"]) == ("completed", {"output": {"value": 49}})
    assert run["origins"]["/parameters/number"] == "request"
    assert run["origins"]["/parameters/deed"] == "default"
    steps = site.get(f"/runs/{run['id']}/steps")["items"]
    assert [(one["step"], one["state"], one["upstream"]) for one in steps] == [
        ("act", "completed", []),
        ("report", "completed", ["act"]),
    ]


def test_the_caller_may_wait_for_the_end(site: Site) -> None:
    answer = site.api.post("/run_templates/lab/runs", json={"parameters": {"number": 3}}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": {"value": 9}})
    assert answer.headers["preference-applied"] == "wait=30"


def test_values_for_single_steps_replace_those_of_the_pipeline(site: Site) -> None:
    run = site.post(
        "/run_templates/lab/runs", {"parameters": {"number": 3}, "steps": {"act": {"parameters": {"number": 5}}}}
    )
    ended = site.ended(run["id"])
    assert ended["outputs"] == {"output": {"value": 25}}
    assert ended["origins"]["/steps/act/parameters/number"] == "request"


def test_fifty_triggers_at_once_give_fifty_runs_with_their_own_results(site: Site) -> None:
    with ThreadPoolExecutor(50) as pool:
        started = list(pool.map(lambda number: site.trigger("lab", {"number": number}), range(50)))
    ended = [site.ended(run["id"]) for run in started]
    assert [run for run in ended if run["state"] != "completed"] == []
    assert [run["outputs"]["output"]["value"] for run in ended] == [number**2 for number in range(50)]


def test_one_key_starts_one_run_however_often_and_at_once_it_comes(site: Site) -> None:
    def post(_: int) -> tuple[int, str, str]:
        answer = site.api.post(
            "/run_templates/lab/runs", json={"parameters": {"number": 4}}, headers={"Idempotency-Key": "one-key"}
        )
        return answer.status_code, answer.json()["id"], answer.headers["idempotency-result"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert len({run for _, run, _ in answers}) == 1
    assert [result for _, _, result in answers].count("created") == 1
    assert {(status, result) for status, _, result in answers} <= {
        (202, "created"),
        (202, "joined"),
        (200, "replayed"),
    }
    site.ended(answers[0][1])
    assert post(0) == (200, answers[0][1], "replayed")


def test_a_key_that_comes_with_another_request_is_refused(site: Site) -> None:
    site.trigger("lab", {"number": 1}, Idempotency_Key="reused")
    problem = site.post("/run_templates/lab/runs", {"parameters": {"number": 2}}, 422, Idempotency_Key="reused")
    assert problem["type"] == "urn:penstock:problem:idempotency-key-reused"


BAD: list[tuple[str, Any, int, str | None, list[str] | None]] = [
    ("lap", {}, 404, "/template", None),
    ("lab@v99", {}, 404, None, None),
    ("lab", {"parameters": {"nmber": 1}}, 422, "/parameters/nmber", ["deed", "number", "path"]),
    ("lab", {"parameters": {"number": "one"}}, 422, "/parameters/number", None),
    ("lab", {"parameters": {"deed": "dance"}}, 422, "/parameters/deed", list(get_args(Deed))),
    ("lab", {"steps": {"akt": {"parameters": {}}}}, 422, "/steps/akt", ["act", "report"]),
    ("lab", {"steps": {"act": {"parameters": {"nr": 1}}}}, 422, "/steps/act/parameters/nr", ["deed", "number", "path"]),
    ("lab", {"steps": {"report": {"parameters": {"value": 1}}}}, 422, "/steps/report/parameters/value", None),
    ("lab", {"steps": {"act": {"params": {}}}}, 422, "/steps/act/params", STEP_FIELDS),
    ("lab", {"parametres": {}}, 422, "/parametres", RUN_FIELDS),
    ("lab", {"run_name": "../x"}, 422, "/run_name", None),
    ("lab", [], 422, "", None),
    ("lab", "text", 422, "", None),
]


@pytest.mark.parametrize(("template", "body", "status", "pointer", "allowed"), BAD)
def test_bad_input_is_told_and_starts_nothing(
    site: Site, template: str, body: Any, status: int, pointer: str | None, allowed: list[str] | None
) -> None:
    before = site.get("/runs")["total"]
    answer = site.api.post(f"/run_templates/{template}/runs", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(problem)
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer, problem
    if allowed is not None:
        assert problem["errors"][0]["allowed"] == allowed
    assert site.get("/runs")["total"] == before


def test_a_template_that_is_not_there_is_told_with_the_nearest_one(site: Site) -> None:
    (mistake,) = site.post("/run_templates/lap/runs", {}, 404)["errors"]
    assert "lab" in mistake["allowed"]
    assert mistake["did_you_mean"] == "lab"


def test_what_is_no_json_is_refused(site: Site) -> None:
    answer = site.api.post(
        "/run_templates/lab/runs", content=b'{"parameters": ', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:penstock:problem:malformed-request"


@pytest.mark.parametrize(
    "body",
    [
        b'{"parameters": {"number": NaN}}',
        b'{"parameters": {"number": 1, "number": 2}}',
        b'{"parameters": {"\\ud800": 1}}',
    ],
)
def test_what_readers_take_differently_is_refused(site: Site, body: bytes) -> None:
    answer = site.api.post("/run_templates/lab/runs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:penstock:problem:malformed-request")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(site: Site, chunked: bool) -> None:
    body = b'{"run_name": "' + b"x" * 9_000_000 + b'"}'
    content = (body[at : at + 100_000] for at in range(0, len(body), 100_000)) if chunked else body
    answer = site.api.post("/run_templates/lab/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413, answer.text
    assert answer.json()["type"] == "urn:penstock:problem:too-large"


def test_over_tcp_a_valid_key_is_needed(site: Site) -> None:
    key = site.key("keyed")
    assert site.keyed(key).post("/run_templates/lab/runs", json={}).status_code == 202
    broken = key[:-1] + ("a" if key[-1] != "a" else "b")
    unknown = "psk_0123456789abcdef_0123456789abcdef0123456789abcdef"
    for credential in [broken, unknown, "x", "a.b.c"]:
        answer = site.keyed(credential).post("/run_templates/lab/runs", json={})
        assert answer.status_code == 401, credential
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_viewer_may_look_and_not_trigger(site: Site) -> None:
    client = site.keyed(site.key("looker", role="viewer"))
    assert client.get("/runs").status_code == 200
    assert client.post("/run_templates/lab/runs", json={}).status_code == 403


def test_a_login_gives_a_token_that_dies_with_its_key(site: Site) -> None:
    key = site.key("short")
    token = site.keyed("none").post("/login", json={"api_key": key}).json()["access_token"]
    assert site.keyed(token).get("/runs").status_code == 200
    assert site.api.delete("/service_accounts/short/api_keys/k").status_code == 204
    assert site.keyed(token).get("/runs").status_code == 401
    assert site.keyed(key).get("/runs").status_code == 401


def test_the_curl_calls_of_the_reference_documents(site: Site) -> None:
    """The three calls (pipeline id, template id, run) and the one by name, as written: also without a content type."""
    key = site.key("curl")

    def curl(*arguments: str) -> Any:
        command = ["curl", "-sS", "-H", f"Authorization: Bearer {key}", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)

    api = f"{site.url}/api/v1"
    accept = ("-H", "accept: application/json")
    found = curl("-X", "GET", f"{api}/pipelines?hydrate=false&name=lab", *accept)
    pipeline = found["items"][0]["id"]
    query = f"hydrate=false&logical_operator=and&page=1&size=20&pipeline_id={pipeline}"
    template = curl("-X", "GET", f"{api}/run_templates?{query}", *accept)["items"][0]["id"]
    body = '{"steps": {"act": {"parameters": {"number": 6}}}}'
    json_type = ("-H", "Content-Type: application/json")
    by_id = curl("-X", "POST", f"{api}/run_templates/{template}/runs", *accept, *json_type, "-d", body)
    by_name = curl("-X", "POST", f"{api}/run_templates/lab/runs", "-d", body)
    snapshot = curl("-X", "GET", f"{api}/pipeline_snapshots?pipeline_id={pipeline}", *accept)["items"][0]["id"]
    by_snapshot = curl("-X", "POST", f"{api}/pipeline_snapshots/{snapshot}/runs", *json_type, "-d", body)
    wrapped = f'{{"run_configuration": {body}}}'
    by_envelope = curl("-X", "POST", f"{api}/pipeline_snapshots/{snapshot}/runs", *json_type, "-d", wrapped)
    for run in (by_id, by_name, by_snapshot, by_envelope):
        assert site.ended(run["id"])["outputs"] == {"output": {"value": 36}}


def test_events_stream_until_the_end(site: Site) -> None:
    run = site.trigger("lab", {"number": 2})
    with site.api.stream("GET", f"/runs/{run['id']}/events", headers={"Accept": "text/event-stream"}) as stream:
        kinds = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
    assert kinds[0] == "run_queued"
    assert kinds[-2:] == ["run_completed", "end"]
    assert {"run_running", "step_completed"} <= set(kinds)
    listed = site.get(f"/runs/{run['id']}/events", size=200)["items"]
    assert [one["type"] for one in listed] == kinds[:-1]


def test_output_of_every_kind_can_be_read_by_step(site: Site) -> None:
    run = site.trigger("lab", {"deed": "print", "number": 2})
    site.ended(run["id"])
    act = "\n".join(site.lines(run["id"], step="act"))
    for text in ("hello from print", "and from stderr", "mind the gap", "said a child"):
        assert text in act
    assert site.lines(run["id"], step="report") == ["the value is 4"]


def test_output_can_be_read_while_the_run_goes_on(site: Site, tmp_path: Any) -> None:
    marker = tmp_path / "m"
    run = site.trigger("lab", {"deed": "wait", "path": str(marker)})
    site.reaches(run["id"], {"running"})
    print_run = site.trigger("lab", {"deed": "print"})
    site.ended(print_run["id"])
    assert site.get(f"/runs/{run['id']}")["state"] == "running"  # side by side: one did not wait for the other
    marker.with_suffix(".go").touch()
    assert site.ended(run["id"])["state"] == "completed"


def test_unknown_filters_are_refused(site: Site) -> None:
    for noun in ("runs", "run_templates", "pipelines", "pipeline_snapshots", "artifacts", "step_runs", "stacks"):
        answer = site.api.get(f"/{noun}", params={"pipelin": "x"})
        assert answer.status_code == 422, noun
        assert answer.json()["errors"][0]["pointer"] == "/query/pipelin"


def test_two_filters_that_say_the_same_are_refused(site: Site) -> None:
    run = site.trigger("lab")
    answer = site.api.get("/runs", params={"pipeline": "lab", "pipeline_id": run["pipeline_id"]})
    assert answer.status_code == 422
    for filters in ({"pipeline": "lab"}, {"pipeline_id": run["pipeline_id"]}, {"pipeline": run["pipeline_id"]}):
        assert site.get("/runs", size=1, **filters)["items"][0]["id"] == run["id"]


def test_artifacts_can_be_listed_and_read(site: Site) -> None:
    run = site.ended(site.trigger("lab", {"number": 5})["id"])
    found = site.get("/artifacts", run_id=run["id"], step="act")["items"]
    assert [one["output"] for one in found] == ["output"]
    file = found[0]["files"][0]
    answer = site.api.get(f"/artifacts/{found[0]['id']}/files/{file['name']}")
    assert (answer.status_code, answer.content) == (200, b"25")
    assert answer.headers["content-disposition"].startswith("attachment")
