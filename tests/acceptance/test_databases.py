"""The database of a server with a history: moved to PostgreSQL, copied while it works, restored somewhere else."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually

LISTS = (
    "/runs",
    "/runs?state=failed",
    "/runs?tag=night",
    "/runs?q=evening",
    "/pipelines",
    "/pipeline_snapshots",
    "/run_templates",
    "/step_runs",
    "/artifacts",
    "/decisions",
    "/stacks",
    "/service_accounts",
    "/users",
    "/audit",
    "/callbacks",
    "/trusts",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    cluster = postgres.Cluster(next(iter(postgres.installed().values())))
    yield cluster
    cluster.remove()


def everything(site: Site) -> dict[str, bytes]:
    """Whatever can be asked of the history, as it is sent."""
    assert site.get("/audit/verify")["intact"]  # and every entry has its place
    paths = list(LISTS)
    for run in site.get("/runs", size=200)["items"]:
        paths += [f"/runs/{run['id']}{part}" for part in ("", "/steps", "/events", "/logs", "/callbacks", "/why")]
    paths += [f"/artifacts/{one['id']}/lineage" for one in site.get("/artifacts", size=200)["items"]]
    paths += [f"/pipeline_snapshots/{one['id']}" for one in site.get("/pipeline_snapshots")["items"]]
    paths += ["/run_templates/lab", "/run_templates/lab/openapi.json", "/run_templates/lab/usage", "/audit/export"]
    paths += [f"/step_runs/{one['id']}/logs" for one in site.get("/step_runs")["items"]]
    paths += ["/run_templates/lab/aliases/prod", "/service_accounts/ci/api_keys"]
    answers = {path: site.api.get(path) for path in paths}
    wrong = {path: (one.status_code, one.text) for path, one in answers.items() if one.status_code != 200}
    assert not wrong, wrong
    return {path: one.content for path, one in answers.items()}


def history(site: Site) -> str:
    """Runs of each kind, accounts, artifacts, aliases, refusals; the key of an account."""
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    site.penstock("run-template", "promote", "lab", "v1", "prod")
    key = site.key()
    client = site.keyed(key)
    for body in (
        {"parameters": {"deed": "print", "number": 7}, "tags": ["night"], "run_name": "evening-run"},
        {"parameters": {"deed": "fail", "number": 3}},
        {"parameters": {"number": -5}},
    ):
        answer = client.post("/run_templates/lab/runs", json=body, headers={"Idempotency-Key": json.dumps(body)[:60]})
        assert answer.status_code == 202, answer.text
        site.ended(answer.json()["id"])
    assert client.post("/run_templates/lab/runs", json={"parameters": {"nope": 1}}).status_code == 422
    return key


def test_a_history_that_was_moved_to_postgresql_is_answered_byte_for_byte(
    new_site: Callable[..., Site], cluster: postgres.Cluster
) -> None:
    site, url = new_site(), cluster.database()
    key = history(site)
    before = everything(site)
    assert len(before) > 30
    refused = site.penstock("db", "move", url, status=1)
    assert "server of this home is running" in refused.stderr
    site.stop()
    moved = json.loads(site.penstock("db", "move", url, "-o", "json").stdout)
    assert moved["rows"]["runs"] == 3
    assert not (site.home / "penstock.db").exists()
    assert "was moved into another one" in started_anew(site)

    site.environment["PENSTOCK_DATABASE_URL"] = url
    site.restart()
    after = everything(site)
    assert after.keys() == before.keys()
    assert {path: (before[path], after[path]) for path in before if before[path] != after[path]} == {}
    assert site.penstock("db", "check", "--deep").returncode == 0
    # It goes on from there: the old key lets in, and the numbers of what is new follow.
    again = site.keyed(key).post("/run_templates/lab@prod/runs", json={"parameters": {"number": 4}})
    assert {"value": 16} in site.ended(again.json()["id"])["outputs"].values()
    assert site.get("/audit/verify")["intact"]


def started_anew(site: Site) -> str:
    """What a server says that is started without the address of the new database."""
    command = [sys.executable, "-m", "penstock.server", "--foreground", "--port", "0"]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_backup_made_under_load_is_restored_elsewhere(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site, over, accepted = new_site(PENSTOCK_PARALLEL_RUNS="1"), threading.Event(), []
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    site.penstock("secret", "set", "db", "password=hunter2")

    def load() -> None:
        while not over.wait(0.05):  # the machine has other things to do
            answer = site.api.post("/run_templates/lab/runs", json={"parameters": {"number": len(accepted)}})
            assert answer.status_code == 202, answer.text
            accepted.append(answer.json()["id"])

    loading = threading.Thread(target=load)
    loading.start()
    try:
        eventually(lambda: len(accepted) >= 10, what="some runs")
        site.ended(accepted[0])  # it has left artifacts
        known = list(accepted)
        site.penstock("db", "backup", str(tmp_path / "backup.db"))
        later = len(accepted)
    finally:
        over.set()
        loading.join()
    assert later > len(known), "the server went on meanwhile"
    site.kill()  # and what came after the backup is lost with its disk

    other = new_site()
    other.stop()
    for name in ("code", "artifacts", "secrets"):
        shutil.rmtree(other.home / name, ignore_errors=True)
        shutil.copytree(site.home / name, other.home / name)
    for name in ("secret.key", "secrets.key"):
        shutil.copy(site.home / name, other.home / name)
    for left in other.home.glob("penstock.db*"):
        left.unlink()
    shutil.copy(tmp_path / "backup.db", other.home / "penstock.db")
    point_stack_here(other, site)
    assert other.penstock("db", "check", "--deep").returncode == 0
    other.restart()
    restored = {run["id"] for run in every_run(other)}
    assert set(known) <= restored
    assert other.ended(known[-1])["state"] == "completed"  # what was queued then is carried out here
    assert other.penstock("secret", "list").returncode == 0


def every_run(site: Site) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        page = site.get("/runs", size=200, **({"cursor": cursor} if cursor else {}))
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def point_stack_here(site: Site, was: Site) -> None:
    """The stack names the folder of its artifacts: in another home it is another one."""
    with closing(sqlite3.connect(site.home / "penstock.db")) as connection:
        connection.execute("UPDATE stacks SET components = replace(components, ?, ?)", (str(was.home), str(site.home)))
        connection.commit()


def test_what_is_missing_is_told_while_the_server_runs(fresh: Site) -> None:
    run = fresh.ended(fresh.trigger("lab", {"number": 6})["id"])
    assert fresh.penstock("db", "check", "--deep").returncode == 0
    for blob in (fresh.home / "artifacts").rglob("*"):
        if blob.is_file():
            blob.unlink()
    done = fresh.penstock("db", "check", status=1)
    assert "artifacts  broken" in done.stdout
    assert "It is NOT sound." in done.stderr
    assert fresh.get(f"/runs/{run['id']}")["state"] == "completed"
