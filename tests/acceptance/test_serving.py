"""A pipeline as a service, over real HTTP: every answer its own, and a right answer to everything that goes wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.service_under_test import Service, begun
from tests.acceptance.site_under_test import eventually

PIPELINES = Path(__file__).parent / "pipelines"
Start = Callable[..., httpx.Client]

FLAT = """
from penstock import pipeline
from served import served as inner
from served import load

served = pipeline(on_init=load, name="served", settings={settings})(inner.function)
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that serves the pipeline under some settings, in the foreground, and returns a client of it."""
    started: list[Service] = []

    def make(*arguments: str, **settings: Any) -> httpx.Client:
        files = {
            "served.py": (PIPELINES / "served.py").read_text(),
            "flat.py": FLAT.replace("{settings}", repr({"deployment": settings})),
        }
        service = begun(tmp_path_factory.mktemp("project"), files, "flat:served", *arguments)
        started.append(service)
        service.client.headers["x-project"] = str(service.project)
        return service.client

    yield make
    assert [one.stop() for one in started] == [0] * len(started)


@pytest.fixture(scope="module")
def plain(start: Start) -> httpx.Client:
    return start("--no-reload")


@pytest.fixture(scope="module")
def tight(start: Start) -> httpx.Client:
    return start("--no-reload", thread_pool_size=1, queue_size=1, timeout=1.0, errors="traceback")


def invoke(client: httpx.Client, status: int = 200, **parameters: Any) -> dict[str, Any]:
    answer = client.post("/invoke", json={"parameters": parameters})
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_the_answer_has_the_outputs_and_says_what_ran(plain: httpx.Client) -> None:
    told = invoke(plain, number=3)
    assert (told["success"], told["outputs"], told["error"]) == (True, {"output": 10}, None)
    assert told["execution_time"] > 0
    assert set(told["metadata"]) == {
        "deployment_id",
        "deployment_name",
        "snapshot_id",
        "snapshot_name",
        "pipeline_name",
        "run_id",
        "run_name",
        "parameters_used",
    }
    assert told["metadata"]["parameters_used"]["number"] == 3
    assert told["metadata"]["parameters_used"]["more"] == 1


def test_the_graph_is_made_anew_for_each_request(plain: httpx.Client) -> None:
    assert invoke(plain, number=4, deed="count")["outputs"] == {"output": 6}
    assert invoke(plain, number=4, point={"x": 7})["outputs"] == {"x": 7, "square": 16}
    assert invoke(plain, number=4, more=5)["outputs"] == {"output": 21}


def test_a_step_may_not_change_what_another_one_gets(plain: httpx.Client) -> None:
    assert invoke(plain, number=0, deed="mutate")["outputs"] == {"output": 1}


def test_the_state_is_made_once(plain: httpx.Client) -> None:
    told = [invoke(plain, number=n, deed="tell")["outputs"]["output"] for n in range(5)]
    assert {(one["state"]["pid"], one["state"]["loads"]) for one in told} == {(told[0]["pid"], 1)}
    assert len({one["run"] for one in told}) == 5


@pytest.mark.parametrize("clients", [16, 64])
def test_every_caller_gets_the_answer_to_its_own_question(plain: httpx.Client, clients: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        told = list(pool.map(lambda number: invoke(plain, number=number, more=7), range(clients * 8)))
    assert [one["outputs"]["output"] for one in told] == [number**2 + 7 for number in range(clients * 8)]
    assert len({one["metadata"]["run_id"] for one in told}) == clients * 8


BAD: list[tuple[Any, int, list[str]]] = [
    ({}, 422, ["/parameters"]),
    ({"parameters": {}}, 422, ["/parameters/number"]),
    ({"parameters": {"number": "x", "nmber": 1}}, 422, ["/parameters/nmber", "/parameters/number"]),
    ({"parameters": {"number": 1, "deed": "dance"}}, 422, ["/parameters/deed"]),
    ({"parameters": {"number": 1, "point": {"y": 1}}}, 422, ["/parameters/point"]),
    ({"parameters": {"number": 1}, "paramters": {}}, 422, ["/paramters"]),
    ({"parameters": []}, 422, ["/parameters"]),
    ({"parameters": {"number": 1}, "run_name": "../x"}, 422, ["/run_name"]),
    ([1], 422, [""]),
    ("text", 422, [""]),
]


@pytest.mark.parametrize(("body", "status", "pointers"), BAD)
def test_what_does_not_fit_is_refused_with_its_place(
    plain: httpx.Client, body: Any, status: int, pointers: list[str]
) -> None:
    answer = plain.post("/invoke", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [one["pointer"] for one in answer.json()["errors"]] == pointers


@pytest.mark.parametrize(
    "body", [b"{", b'{"parameters": {"number": NaN}}', b'{"parameters": {}, "parameters": {}}', b"\xff"]
)
def test_what_is_no_json_is_refused(plain: httpx.Client, body: bytes) -> None:
    answer = plain.post("/invoke", content=body)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:penstock:problem:malformed-request")


def test_a_failing_step_is_an_error_with_its_own_words(plain: httpx.Client, tight: httpx.Client) -> None:
    told = invoke(plain, 500, number=3, deed="fail")
    assert (told["success"], told["outputs"]) == (False, None)
    assert told["error"] == "Step fail failed: ValueError: 3 is a bad number"
    assert told["failure"] == {"type": "ValueError", "message": "3 is a bad number", "step": "fail"}
    assert "raise ValueError" in invoke(tight, 500, number=3, deed="fail")["failure"]["traceback"]


def test_a_request_that_takes_too_long_is_stopped(tight: httpx.Client) -> None:
    told = invoke(tight, 504, number=3, deed="nap", seconds=30)
    assert told["error"] == "Step nap failed: penstock.errors.TimedOut: The request did not end within 1 s."
    assert invoke(tight, number=3)["outputs"] == {"output": 10}


def test_who_comes_when_there_is_too_much_to_do_is_told_when_to_come_back(tight: httpx.Client) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(
                lambda _: tight.post("/invoke", json={"parameters": {"number": 1, "deed": "nap", "seconds": 0.4}}),
                range(6),
            )
        )
    statuses = [one.status_code for one in answers]
    assert statuses.count(503) >= 3
    assert statuses.count(200) >= 1
    refused = next(one for one in answers if one.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1


def test_the_work_of_a_caller_who_hangs_up_is_stopped(plain: httpx.Client, tmp_path: Path) -> None:
    left = tmp_path / "left"
    body = json.dumps({"parameters": {"number": 1, "deed": "nap", "seconds": 3, "path": str(left)}}).encode()
    with socket.create_connection((plain.base_url.host, plain.base_url.port or 0)) as caller:
        caller.sendall(b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        eventually(lambda: plain.get("/info").json()["open_requests"] == 1, what="the request")
    eventually(lambda: plain.get("/info").json()["open_requests"] == 0, what="the end of the work", patience=2.5)
    assert not left.exists()


def test_items_come_as_they_are_made(plain: httpx.Client) -> None:
    with plain.stream("POST", "/invoke/stream", json={"parameters": {"number": 3, "deed": "count"}}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [block.split("\n") for block in answer.read().decode().strip().split("\n\n")]
    kinds = [lines[0].removeprefix("event: ") for lines in events]
    told = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert kinds == ["item", "item", "item", "result"]
    assert [one["value"] for one in told[:3]] == [0, 1, 2]
    assert told[3]["outputs"] == {"output": 3}


def test_a_stream_that_is_refused_is_no_stream(plain: httpx.Client) -> None:
    assert plain.post("/invoke/stream", json={"parameters": {}}).status_code == 422


def test_a_batch_has_a_result_for_each(plain: httpx.Client) -> None:
    requests = [{"parameters": {"number": number}} for number in range(20)]
    requests.append({"parameters": {"number": 1, "deed": "fail"}})
    told = plain.post("/invoke/batch", json={"requests": requests}).json()["results"]
    assert [one["outputs"] and one["outputs"]["output"] for one in told] == [*(n**2 + 1 for n in range(20)), None]
    assert told[-1]["failure"]["step"] == "fail"
    problem = plain.post("/invoke/batch", json={"requests": [{"parameters": {"number": 1}}, {"parameters": {}}]})
    assert [one["pointer"] for one in problem.json()["errors"]] == ["/requests/1/parameters/number"]
    assert plain.post("/invoke/batch", json={"requests": []}).status_code == 422


def test_it_describes_itself(plain: httpx.Client) -> None:
    document = plain.get("/openapi.json").json()
    assert document["components"]["schemas"]["Parameters"]["required"] == ["number"]
    assert {"/invoke", "/invoke/stream", "/invoke/batch", "/info", "/metrics"} <= set(document["paths"])
    assert plain.get("/docs").status_code == 200
    page = plain.get("/")
    assert "<form" in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    metrics = plain.get("/metrics").text
    assert 'penstock_service_request_duration_seconds_count{status="200"}' in metrics
    info = plain.get("/info").json()
    assert info["pipeline"]["name"] == "served"
    assert info["total_executions"] >= 1


def test_what_is_not_served_is_not_found(plain: httpx.Client) -> None:
    for method, path in (("GET", "/nothing"), ("GET", "/invoke/x/y"), ("POST", "/x")):
        answer = plain.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert plain.get("/invoke").status_code in (404, 405)


def test_it_takes_up_changes_and_keeps_serving_what_works(start: Start) -> None:
    client = start("--reload")
    source = Path(client.headers["x-project"]) / "served.py"
    text = source.read_text()
    assert invoke(client, number=3)["outputs"] == {"output": 10}
    source.write_text(text.replace("return number * number", "return number * number * 1000"))
    eventually(lambda: invoke(client, number=3)["outputs"] == {"output": 9001}, what="the change")
    source.write_text("this is no Python")
    source.write_text(text.replace("return number * number", "return number"))
    eventually(lambda: invoke(client, number=3)["outputs"] == {"output": 4}, what="the change after the mistake")


def test_a_process_that_dies_is_started_again(plain: httpx.Client) -> None:
    before = invoke(plain, number=1, deed="tell")["outputs"]["output"]["pid"]
    with pytest.raises(httpx.HTTPError):
        plain.post("/invoke", json={"parameters": {"number": 1, "deed": "exit"}})
    # The socket stays open meanwhile: who calls now is answered by the process that comes.
    after = invoke(plain, number=1, deed="tell")["outputs"]["output"]["pid"]
    assert before != after
