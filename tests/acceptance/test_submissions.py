"""Requests that are answered when they are safe, and carried out later: whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.service_under_test import Service, begun
from tests.acceptance.site_under_test import PATIENCE, Site, eventually
from tests.ports import FIRST_PORT

PIPELINES = Path(__file__).parent / "pipelines"
SERVED = (PIPELINES / "served.py").read_text()


def files(**settings: Any) -> dict[str, str]:
    said = repr({"deployment": {"uvicorn_port": FIRST_PORT, **settings}})
    return {"served.py": SERVED.replace("settings=SETTINGS", f"settings={said}")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service = begun(tmp_path_factory.mktemp("project"), files(), "served:served", "--no-reload")
    yield service.client
    assert service.stop() == 0


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    said = files(async_execution_thread_pool_size=1, submit_queue_size=2, submit_timeout=5.0, submit_attempts=1)
    service = begun(tmp_path_factory.mktemp("project"), said, "served:served", "--no-reload")
    yield service
    assert service.stop() == 0


def submit(client: httpx.Client, status: int = 202, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
    answer = client.post("/submit", json={"parameters": parameters}, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def ended(client: httpx.Client, run_id: str) -> Any:
    def look() -> Any:
        answer = client.get(f"/submit/{run_id}", headers={"Prefer": "wait=10"})
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.json()["ended"] else None

    return eventually(look, what=f"the end of {run_id}")


def test_it_is_accepted_at_once_and_has_its_result_later(plain: httpx.Client) -> None:
    answer = plain.post("/submit", json={"parameters": {"number": 5}})
    assert answer.status_code == 202
    told = answer.json()
    assert answer.headers["location"] == f"/submit/{told['run_id']}"
    assert answer.headers["idempotency-result"] == "created"
    found = ended(plain, told["run_id"])
    assert (found["state"], found["status"], found["attempts"]) == ("completed", 200, 1)
    assert found["result"]["outputs"] == {"output": 26}
    assert found["result"]["metadata"]["run_id"] == told["run_id"]
    waited = plain.post("/submit", json={"parameters": {"number": 5}}, headers={"Prefer": "wait=20"})
    assert (waited.status_code, waited.json()["state"]) == (200, "completed")
    failed = ended(plain, submit(plain, number=1, deed="fail")["run_id"])
    assert (failed["state"], failed["status"]) == ("failed", 500)
    assert failed["result"]["failure"]["message"] == "1 is a bad number"


def test_what_does_not_fit_is_refused_before_it_is_kept(plain: httpx.Client) -> None:
    assert [one["pointer"] for one in submit(plain, 422, number="x")["errors"]] == ["/parameters/number"]
    assert plain.post("/submit", content=b"{").status_code == 400
    assert plain.get("/submit/nothing").status_code == 404
    assert plain.post("/submit/nothing/cancel").status_code == 404
    key = {"Idempotency-Key": "k", "Idempotency-Conflict": "replace"}
    assert submit(plain, 422, key, number=1)["status"] == 422


def test_a_key_makes_one_request_of_fifty(plain: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        told = list(
            pool.map(
                lambda _: plain.post(
                    "/submit", json={"parameters": {"number": 3}}, headers={"Idempotency-Key": "once"}
                ),
                range(50),
            )
        )
    assert {one.status_code for one in told} <= {200, 202}
    assert len({one.json()["run_id"] for one in told}) == 1
    assert [one.headers["idempotency-result"] for one in told].count("created") == 1
    reused = submit(plain, 422, {"Idempotency-Key": "once"}, number=4)
    assert reused["type"] == "urn:penstock:problem:idempotency-key-reused"


def test_the_queue_has_an_end_and_what_is_in_it_can_be_cancelled(tight: Service) -> None:
    client = tight.client
    first = submit(client, number=1, deed="nap", seconds=30)["run_id"]
    eventually(lambda: client.get(f"/submit/{first}").json()["state"] == "running", what="its beginning")
    waiting = [submit(client, number=number)["run_id"] for number in range(2)]
    refused = client.post("/submit", json={"parameters": {"number": 1}})
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    cancelled = client.post(f"/submit/{waiting[0]}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert client.post(f"/submit/{first}/cancel").status_code in (200, 202)
    assert ended(client, first)["state"] == "cancelled"
    assert ended(client, waiting[1])["result"]["outputs"] == {"output": 2}


def test_it_has_its_own_time(tight: Service) -> None:
    found = ended(tight.client, submit(tight.client, number=1, deed="nap", seconds=60)["run_id"])
    assert (found["state"], found["status"]) == ("failed", 504)


def test_what_must_not_be_done_twice_is_not(tight: Service) -> None:
    lost = submit(tight.client, number=1, deed="exit")["run_id"]
    found = eventually(lambda: _answered(tight.client, lost), what="its end after the death of its process")
    assert (found["state"], found["attempts"]) == ("failed", 1)
    assert "submit_attempts" in found["result"]["error"]


def _answered(client: httpx.Client, run_id: str) -> Any:
    try:
        told = client.get(f"/submit/{run_id}").json()
    except httpx.HTTPError:  # the connection ended with the process
        return None
    return told if told["ended"] else None


@pytest.fixture
def site(new_site: Callable[..., Site], tmp_path: Path) -> Site:
    site = new_site()
    (tmp_path / "served.py").write_text(files(async_execution_thread_pool_size=2)["served.py"])
    site.penstock("pipeline", "deploy", "served.py:served", "--name", "served", cwd=tmp_path)
    return site


def killed(site: Site, deployment_id: str) -> None:
    """Kill the process that serves, as a power cut would."""
    told = json.loads((site.home / "deployments" / deployment_id / "state.json").read_text())
    for pid in told["workers"]:
        os.kill(pid, signal.SIGKILL)


def test_what_was_accepted_is_done_though_everything_is_killed(site: Site, tmp_path: Path) -> None:
    found = site.get("/deployments/served")
    with httpx.Client(base_url=found["url"], timeout=PATIENCE) as client:
        left = [tmp_path / f"left-{number}" for number in range(8)]
        ids = [
            submit(client, number=n, deed="nap", seconds=1.5, path=str(path))["run_id"] for n, path in enumerate(left)
        ]
        eventually(lambda: client.get(f"/submit/{ids[0]}").json()["state"] == "running", what="a beginning")
    killed(site, found["id"])
    site.kill()
    for process in site.processes():
        process.kill()
    eventually(lambda: not site.processes(), what="everything is dead")
    site.restart()
    url = eventually(lambda: _url(site), what="the service")
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        told = [ended(client, identity) for identity in ids]
    assert {one["state"] for one in told} == {"completed"}
    assert [one["result"]["outputs"]["output"] for one in told] == list(range(8))
    assert {one["attempts"] for one in told} <= {1, 2}
    assert told[0]["attempts"] == 2
    assert all(path.exists() for path in left)
    for identity in ids:
        eventually(lambda run_id=identity: site.api.get(f"/runs/{run_id}").status_code == 200, what="the record")
        assert site.get(f"/runs/{identity}")["state"] == "completed"
    assert len({*ids}) == 8


def _url(site: Site) -> str:
    found = site.get("/deployments/served")
    return str(found["url"]) if found["state"] == "running" else ""


def test_an_update_hands_what_waits_on_to_the_next_revision(site: Site, tmp_path: Path) -> None:
    url = site.get("/deployments/served")["url"]
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        ids = [submit(client, number=n, deed="nap", seconds=0.5)["run_id"] for n in range(12)]
    (tmp_path / "served.py").write_text(SERVED + "\n# changed\n")
    site.penstock("pipeline", "deploy", "served.py:served", "--name", "served", "--update", cwd=tmp_path)
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        told = [ended(client, identity) for identity in ids]
    assert [one["result"]["outputs"]["output"] for one in told] == list(range(12))
    assert {one["attempts"] for one in told} == {1}


def test_from_the_command_line(site: Site) -> None:
    command = ("deployment", "invoke", "served", "-p", "number=5", "--no-wait", "--idempotency-key", "k", "-o", "json")
    told = json.loads(site.penstock(*command).stdout)
    assert json.loads(site.penstock(*command).stdout)["run_id"] == told["run_id"]
    found = site.penstock("deployment", "result", "served", told["run_id"], "--timeout", "30", "-o", "json")
    assert json.loads(found.stdout)["result"]["outputs"] == {"output": 26}
    again = site.penstock("deployment", "cancel", "served", told["run_id"], "-o", "json")
    assert json.loads(again.stdout)["state"] == "completed"
    refused = site.penstock("deployment", "invoke", "served", "--idempotency-key", "k", status=None)
    assert refused.returncode == 2
