"""Deployments from the first command to the last: made, asked, changed under load, killed, and taken down again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.site_under_test import PATIENCE, Site, eventually

PIPELINES = Path(__file__).parent / "pipelines"
SOURCE = f"{PIPELINES / 'served.py'}:served"


@pytest.fixture
def site(new_site: Callable[..., Site], tmp_path: Path) -> Site:
    """A site with the deployment `served`, of a project that may be changed."""
    site = new_site()
    deploy(site, tmp_path)
    return site


def deploy(
    site: Site, project: Path, *options: str, change: Callable[[str], str] = lambda text: text
) -> dict[str, Any]:
    (project / "served.py").write_text(change((PIPELINES / "served.py").read_text()))
    done = site.penstock(
        "pipeline", "deploy", "served.py:served", "--name", "served", *options, "-o", "json", cwd=project
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def running(site: Site, name: str = "served") -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = site.get(f"/deployments/{name}")
        return found if found["state"] == "running" else None

    found = eventually(look, what=f"{name} runs")
    assert found is not None
    return found


def ask(url: str, status: int = 200, key: str | None = None, **parameters: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = httpx.post(f"{url}/invoke", json={"parameters": parameters}, headers=headers, timeout=PATIENCE)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def recorded(site: Site, run_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer = site.api.get(f"/runs/{run_id}")
        return answer.json() if answer.status_code == 200 else None

    found = eventually(look, what=f"run {run_id} in the record")
    assert found is not None
    return found


def keeper(site: Site, deployment_id: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((site.home / "deployments" / deployment_id / "state.json").read_text())
    return told


@contextmanager
def asked_all_the_time(url: str) -> Iterator[list[tuple[int, Any]]]:
    """Somebody asks one question after the other, and notes what comes back."""
    answers: list[tuple[int, Any]] = []
    over = threading.Event()

    def go_on() -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            while not over.is_set():
                answer = client.post("/invoke", json={"parameters": {"number": 3}})
                answers.append((answer.status_code, answer.json().get("outputs")))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(go_on) for _ in range(3)]
        try:
            yield answers
        finally:
            over.set()
            for one in asking:
                one.result()


def test_every_request_is_a_run_with_steps_and_output(site: Site) -> None:
    found = running(site)
    told = ask(found["url"], number=6, more=2)
    assert told["outputs"] == {"output": 38}
    assert told["metadata"]["deployment_id"] == found["id"]
    run = recorded(site, told["metadata"]["run_id"])
    assert (run["state"], run["outputs"], run["parameters"]["number"]) == ("completed", {"output": 38}, 6)
    assert (run["cause"]["kind"], run["cause"]["deployment"]) == ("deployment", "served")
    assert (run["origins"]["/parameters/number"], run["origins"]["/parameters/deed"]) == ("request", "default")
    steps = site.get(f"/runs/{run['id']}/steps")["items"]
    assert [(one["step"], one["state"], one["upstream"]) for one in steps] == [
        ("square", "completed", []),
        ("plus", "completed", ["square"]),
    ]
    assert site.lines(run["id"]) == ["squaring 6"]
    failed = ask(found["url"], 500, number=3, deed="fail")
    run = recorded(site, failed["metadata"]["run_id"])
    assert (run["state"], run["error"]["step"], run["error"]["type"]) == ("failed", "fail", "ValueError")
    assert "a bad number" in "\n".join(site.lines(run["id"]))
    listed = site.get("/runs", served_by=found["id"])
    assert {one["id"] for one in listed["items"]} >= {run["id"]}


def test_the_command_line_asks_it_and_tells_of_it(site: Site) -> None:
    told = json.loads(site.penstock("deployment", "invoke", "served", "-p", "number=5", "-o", "json").stdout)
    assert told["outputs"] == {"output": 26}
    failed = site.penstock("deployment", "invoke", "served", "-p", "number=5", "-p", "deed=fail", status=None)
    assert failed.returncode != 0
    assert "5 is a bad number" in failed.stderr
    assert "curl -X POST" in site.penstock("deployment", "describe", "served").stderr
    assert "squaring 5" in site.penstock("deployment", "logs", "served").stdout
    assert "served" in site.penstock("deployment", "list").stdout


def test_an_update_refuses_nobody_and_a_rollback_neither(site: Site, tmp_path: Path) -> None:
    url = running(site)["url"]
    refused = site.post("/deployments", {"name": "served", "pipeline": "served"}, 409)
    assert "--update" in refused["detail"]
    with asked_all_the_time(url) as answers:
        deploy(site, tmp_path, "--update", change=lambda text: text.replace("number * number", "number * 1000"))
        assert ask(url, number=3)["outputs"] == {"output": 3001}
        site.penstock("deployment", "rollback", "served")
        assert ask(url, number=3)["outputs"] == {"output": 10}
    assert {status for status, _ in answers} == {200}
    assert [one for _, one in answers[-1:]] == [{"output": 10}]
    assert {one["output"] for _, one in answers} == {10, 3001}
    revisions = site.get("/deployments/served/revisions")
    assert [(one["number"], one["note"]) for one in revisions] == [
        (3, "Back to revision 1."),
        (2, None),
        (1, None),
    ]


def test_an_update_that_does_not_come_up_leaves_what_serves(site: Site, tmp_path: Path) -> None:
    url = running(site)["url"]
    broken = (
        (PIPELINES / "served.py")
        .read_text()
        .replace('return {"pid": os.getpid(), "loads": 1}', 'raise OSError("no model")')
    )
    (tmp_path / "served.py").write_text(broken)
    failed = site.penstock(
        "pipeline", "deploy", "served.py:served", "--name", "served", "--update", cwd=tmp_path, status=None
    )
    assert failed.returncode != 0
    assert "does not come up" in failed.stderr
    assert ask(url, number=3)["outputs"] == {"output": 10}
    assert site.get("/deployments/served")["state"] == "error"
    assert "no model" in "\n".join(site.get("/deployments/served/logs")["lines"])
    site.penstock("deployment", "rollback", "served")
    assert running(site)["url"] == url


def test_the_service_outlives_its_server_and_tells_it_everything_later(site: Site) -> None:
    found = running(site)
    site.kill()
    told = [ask(found["url"], number=number) for number in range(40)]
    assert [one["outputs"]["output"] for one in told] == [number**2 + 1 for number in range(40)]
    site.restart()
    for one in told:
        assert recorded(site, one["metadata"]["run_id"])["state"] == "completed"
    assert running(site)["url"] == found["url"]


def test_what_was_answered_before_a_kill_is_told_by_the_next_process(site: Site) -> None:
    found = running(site)
    site.kill()
    told = [ask(found["url"], number=number) for number in range(10)]
    spool = site.home / "deployments" / found["id"] / "spool"
    last = told[-1]["metadata"]["run_id"]
    eventually(lambda: last in "".join(one.read_text() for one in spool.iterdir()), what="the flush")
    [pid] = keeper(site, found["id"])["workers"]
    os.kill(pid, signal.SIGKILL)
    assert ask(found["url"], number=2)["outputs"] == {"output": 5}
    site.restart()
    for one in told:
        assert recorded(site, one["metadata"]["run_id"])["state"] == "completed"


def test_a_machine_that_was_down_brings_it_up_again(site: Site) -> None:
    found = running(site)
    site.kill()
    for process in site.processes():
        process.kill()
    eventually(lambda: not site.processes(), what="everything is dead")
    site.restart()
    eventually(lambda: _answers(found["url"]), what="the service")
    assert ask(found["url"], number=4)["outputs"] == {"output": 17}
    assert running(site)["id"] == found["id"]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_it_is_taken_down_brought_back_and_deleted(site: Site) -> None:
    found = running(site)
    site.penstock("deployment", "deprovision", "served")
    assert site.get("/deployments/served")["state"] == "absent"
    assert not _answers(found["url"])
    site.penstock("deployment", "provision", "served")
    assert ask(running(site)["url"], number=2)["outputs"] == {"output": 5}
    site.penstock("deployment", "delete", "served")
    eventually(lambda: site.api.get("/deployments/served").status_code == 404, what="its end")
    assert not _answers(found["url"])
    assert [line for one in site.processes() if "penstock.serve.keeper" in (line := " ".join(_command(one)))] == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_callers_need_a_key_where_one_was_made(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    made = deploy(site, tmp_path, "--generate-key")
    url, key = made["deployment"]["url"], made["key"]
    assert ask(url, 401, number=1)["type"] == "urn:penstock:problem:unauthenticated"
    assert ask(url, 401, key=key[:-1] + "x", number=1)
    assert ask(url, key=key, number=1)["outputs"] == {"output": 2}
    assert httpx.get(f"{url}/health").status_code == 200
    assert key not in site.api.get("/deployments/served/keys").text
    rotated = site.post("/deployments/served/keys/default/rotate", {"retain_minutes": 5}, 200)["key"]
    eventually(lambda: httpx_status(url, rotated) == 200, what="the new key")
    assert httpx_status(url, key) == 200
    assert site.api.delete("/deployments/served/keys/default").status_code == 204
    eventually(lambda: httpx_status(url, rotated) == 401, what="the end of the key")
    stored = site.home / "penstock.db"
    assert rotated.encode() not in stored.read_bytes()


def httpx_status(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(
        f"{url}/invoke", json={"parameters": {"number": 1}}, headers=headers, timeout=PATIENCE
    ).status_code


def test_a_service_may_not_report_for_another(site: Site) -> None:
    found = running(site)
    token = json.loads((site.home / "deployments" / found["id"] / "plan.json").read_text())["token"]
    service = site.keyed(token)
    assert service.post(f"/deployments/{found['id']}/runs", json={"runs": []}).status_code == 200
    assert service.post(f"/deployments/{'0' * 8}-0000-7000-8000-{'0' * 12}/runs", json={"runs": []}).status_code == 403
    assert service.post("/run_templates/x/runs", json={}).status_code == 403
    assert service.delete(f"/deployments/{found['id']}").status_code == 403


def test_a_sixteen_fold_crowd_gets_its_own_answers_and_all_are_recorded(site: Site) -> None:
    found = running(site)
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda number: ask(found["url"], number=number), range(160)))
    assert [one["outputs"]["output"] for one in told] == [number**2 + 1 for number in range(160)]
    wanted = {one["metadata"]["run_id"]: number for number, one in enumerate(told)}

    def all_there() -> bool:
        return int(site.get("/runs", served_by=found["id"], size=1)["total"]) >= 160

    eventually(all_there, what="160 runs")
    for run_id, number in list(wanted.items())[::16]:
        assert recorded(site, run_id)["parameters"]["number"] == number


def test_a_port_that_is_taken_is_not_waited_for(site: Site) -> None:
    first = running(site)["url"]
    site.post("/deployments", {"name": "second", "pipeline": "served"}, 201)
    second = running(site, "second")["url"]
    assert first != second
    assert ask(second, number=2)["outputs"] == {"output": 5}


def test_a_request_is_run_again_as_a_batch_run_here_or_on_another_version(site: Site, tmp_path: Path) -> None:
    told = ask(running(site)["url"], number=6, more=2)
    run_id = told["metadata"]["run_id"]
    recorded(site, run_id)
    again = site.ended(site.post(f"/runs/{run_id}/replay", {}, (200, 202))["id"])
    assert (again["state"], again["parameters"]["number"], again["outputs"]) == ("completed", 6, {"output": 38})
    assert again["snapshot_id"] == told["metadata"]["snapshot_id"]
    shown = site.penstock("run", "replay", run_id, "--param", "more=3", "-o", "json")
    other = site.ended(json.loads(shown.stdout)["id"])
    assert (other["state"], other["outputs"]) == ("completed", {"output": 39})
    deploy(site, tmp_path, "--update", change=lambda text: text.replace("number * number", "number * 1000"))
    snapshot = running(site)["snapshot_id"]
    newer = site.ended(site.post(f"/runs/{run_id}/replay", {"snapshot_id": snapshot}, (200, 202))["id"])
    assert (newer["snapshot_id"], newer["outputs"]) == (snapshot, {"output": 6002})
    options = ("--from-request", run_id, "--param", "more=4", "-o", "json")
    shown = site.penstock("pipeline", "run", "served.py:served", *options, cwd=tmp_path)
    mine = site.ended(json.loads(shown.stdout)["id"])
    assert (mine["outputs"], mine["cause"]["replay_of"]) == ({"output": 6004}, run_id)
    refused = site.penstock("pipeline", "snapshot", "run", snapshot, "--from-request", mine["name"], status=2)
    assert f"is no request to a deployment. To start it again: penstock run replay {mine['name']}" in refused.stderr


def test_who_comes_through_the_door_of_services_is_nobody_without_a_token(site: Site) -> None:
    found = running(site)
    plan = json.loads((site.home / "deployments" / found["id"] / "plan.json").read_text())
    path = plan["server"].removeprefix("unix:")
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost/api/v1") as services:
        assert services.get("/deployments").status_code == 401
        token = {"Authorization": f"Bearer {plan['token']}"}
        assert services.get("/deployments", headers=token).status_code == 200
        assert services.get("/runs", headers=token).status_code == 403
    assert Path(path).parent.stat().st_mode & 0o777 == 0o755
    assert Path(path).parent.parent.stat().st_mode & 0o077 == 0
