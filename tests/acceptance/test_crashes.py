"""What happens when processes die, hang or are stopped: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from penstock.client.transport import Transport
from penstock.errors import StaleFence
from penstock.model.run import Batch
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


def worker(site: Site, run_id: str, path: Path) -> psutil.Process:
    """The process that carries out the run, once its step has begun."""
    eventually(lambda: path.exists() and path.read_text().endswith("\n"), what="the step has begun")
    return psutil.Process(int(path.read_text().split()[-1]))


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_trigger_survives_the_death_of_the_server(fresh: Site) -> None:
    runs = [fresh.trigger("lab", {"number": number}) for number in range(5)]
    fresh.kill()
    fresh.restart()
    for number, run in enumerate(runs):
        ended = fresh.ended(run["id"])
        assert (ended["state"], ended["outputs"]) == ("completed", {"output": {"value": number**2}})


def test_a_run_under_way_outlives_the_server(fresh: Site, tmp_path: Path) -> None:
    path = tmp_path / "m"
    run = fresh.trigger("lab", {"deed": "wait", "number": 3, "path": str(path)})
    worker(fresh, run["id"], path)
    fresh.kill()
    (tmp_path / "m.go").touch()
    fresh.restart()
    ended = fresh.ended(run["id"])
    assert (ended["state"], ended["outputs"]) == ("completed", {"output": {"value": 9}})
    assert len(path.read_text().splitlines()) == 1  # carried out once


@pytest.mark.parametrize(("deed", "words"), [("exit", "exited with status 3"), ("segfault", "SIGSEGV")])
def test_a_run_whose_process_dies_fails_with_the_reason(site: Site, deed: str, words: str) -> None:
    ended = site.ended(site.trigger("lab", {"deed": deed})["id"], patience=6)
    assert ended["state"] == "failed"
    assert words in ended["error"]["message"]
    if deed == "segfault":
        assert "lab.py" in ended["error"]["traceback"]
    steps = {one["step"]: one["state"] for one in site.get(f"/runs/{ended['id']}/steps")["items"]}
    assert steps == {"act": "failed", "report": "skipped"}
    assert site.ended(site.trigger("lab", {"number": 2})["id"])["state"] == "completed"  # the next one is fine


def test_a_run_that_is_killed_from_outside_fails(site: Site, tmp_path: Path) -> None:
    run = site.trigger("lab", {"deed": "wait", "path": str(tmp_path / "m")})
    worker(site, run["id"], tmp_path / "m").kill()
    ended = site.ended(run["id"], patience=6)
    assert ended["state"] == "failed"
    assert "SIGKILL" in ended["error"]["message"]


def test_cancelling_a_step_that_ignores_sigterm_leaves_no_process(site: Site, tmp_path: Path) -> None:
    run = site.trigger("lab", {"deed": "spawn", "path": str(tmp_path / "m")})
    process = worker(site, run["id"], tmp_path / "m")
    family = [process, *eventually(lambda: process.children(recursive=True), what="the step has a child")]
    site.post(f"/runs/{run['id']}/cancel", status=202)
    grace = 1.0
    ended = site.ended(run["id"], patience=grace + 2)
    assert ended["state"] == "cancelled"
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]
    assert site.post(f"/runs/{run['id']}/cancel", status=202)["state"] == "cancelled"  # again changes nothing


def test_a_queued_run_is_cancelled_at_once(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site(PENSTOCK_PARALLEL_RUNS="1")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    first = site.trigger("lab", {"deed": "wait", "path": str(tmp_path / "m")})
    site.reaches(first["id"], {"running"})
    second = site.trigger("lab", {"number": 5, "path": str(tmp_path / "second")})
    assert site.post(f"/runs/{second['id']}/cancel")["state"] == "cancelled"
    (tmp_path / "m.go").touch()
    assert site.ended(first["id"])["state"] == "completed"
    assert not (tmp_path / "second").exists()


def test_an_ended_run_cannot_be_cancelled(site: Site) -> None:
    run = site.ended(site.trigger("lab")["id"])
    assert site.post(f"/runs/{run['id']}/cancel", status=409)["type"] == "urn:penstock:problem:conflict"


def test_a_worker_that_lost_its_lease_cannot_change_the_run(fresh: Site, tmp_path: Path) -> None:
    """Its supervisor is stopped for longer than the lease: the run is given up, and what comes later is refused."""
    path = tmp_path / "m"
    run = fresh.trigger("lab", {"deed": "wait", "path": str(path)})
    process = worker(fresh, run["id"], path)
    frozen = [one for one in fresh.processes() if fresh.process is not None and one.pid != fresh.process.pid]
    assert process.pid in [one.pid for one in frozen]
    for one in frozen:
        one.suspend()
    lost = fresh.ended(run["id"], patience=12)
    assert lost["state"] == "failed"
    assert "not heard of" in lost["error"]["message"]
    (tmp_path / "m.go").touch()
    for one in frozen:
        one.resume()
    eventually(lambda: gone(process), what="the late worker is gone")
    again = fresh.get(f"/runs/{run['id']}")
    assert again == lost
    owner = Transport(str(fresh.get("/info")["socket"]))
    with pytest.raises(StaleFence):
        owner.request("POST", f"/runs/{run['id']}/events", json=Batch(fence=1))
    owner.close()
    assert fresh.ended(fresh.trigger("lab", {"number": 3})["id"])["state"] == "completed"


def test_the_supervisor_may_die(fresh: Site, tmp_path: Path) -> None:
    run = fresh.trigger("lab", {"deed": "wait", "path": str(tmp_path / "m")})
    process = worker(fresh, run["id"], tmp_path / "m")
    supervisors = [one for one in fresh.processes() if "penstock.runtime.supervisor" in " ".join(one.cmdline())]
    assert len(supervisors) == 1
    supervisors[0].kill()
    ended = fresh.ended(run["id"], patience=12)
    assert ended["state"] == "failed"
    assert not process.is_running() or process.status() == "zombie"
    assert fresh.ended(fresh.trigger("lab", {"number": 3})["id"])["state"] == "completed"


def test_the_traceback_shows_the_users_code_and_none_of_ours(site: Site) -> None:
    ended = site.ended(site.trigger("lab", {"deed": "fail", "number": 13})["id"])
    error = ended["error"]
    assert (ended["state"], error["type"], error["message"]) == ("failed", "ValueError", "13 is a bad number")
    assert error["step"] == "act"
    assert "lab.py" in error["traceback"]
    assert "in wrong" in error["traceback"]
    assert "penstock/" not in error["traceback"]
    assert "ValueError: 13 is a bad number" in site.lines(ended["id"], step="act")
    shown = site.penstock("run", "show", ended["name"]).stdout
    assert "13 is a bad number" in shown


def test_leaving_in_good_order_leaves_nothing(fresh: Site) -> None:
    fresh.ended(fresh.trigger("lab")["id"])
    assert fresh.process is not None
    os.kill(fresh.process.pid, signal.SIGTERM)
    assert fresh.process.wait(20) == 0
    eventually(lambda: not fresh.processes(), what="every process of this home is gone", patience=10)
    assert not (fresh.home / "server.sock").exists()
