"""Accounts of the server as callers of a deployment: who may, who may not, and what holds while the server is away."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.site_under_test import PATIENCE, Site, eventually
from tests.ports import FIRST_PORT

PIPELINE = """
from penstock import pipeline, step


@step
def double(number: int) -> int:
    return 2 * number


@pipeline(settings={"deployment": {"auth": "server", "auth_cache": SECONDS, "uvicorn_port": PORT}})
def doubled(number: int) -> int:
    return double(number)


@pipeline
def other(number: int) -> int:
    return double(number)
"""


@pytest.fixture
def site(new_site: Callable[..., Site], tmp_path: Path) -> Site:
    return deployed(new_site(), tmp_path, 0)


def deployed(site: Site, project: Path, seconds: float) -> Site:
    (project / "doubled.py").write_text(PIPELINE.replace("SECONDS", repr(seconds)).replace("PORT", str(FIRST_PORT)))
    site.penstock("pipeline", "deploy", "doubled.py:doubled", "--name", "doubled", cwd=project)
    for name in ("doubled", "other"):
        site.penstock("pipeline", "create-run-template", f"doubled.py:{name}", "--name", name, cwd=project)
    return site


def account(site: Site, name: str, key: dict[str, Any] | None = None, **said: Any) -> str:
    site.post("/service_accounts", {"name": name, **said}, 201)
    return str(site.post(f"/service_accounts/{name}/api_keys", {"name": "k", **(key or {})}, 201)["key"])


def status(url: str, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}".strip()} if key is not None else {}
    answer = httpx.post(f"{url}/invoke", json={"parameters": {"number": 4}}, headers=headers, timeout=PATIENCE)
    assert answer.status_code != 200 or answer.json()["outputs"] == {"output": 8}
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
    return answer.status_code


def test_those_may_call_who_may_run_its_pipeline(site: Site) -> None:
    url = site.get("/deployments/doubled")["url"]
    told = {
        "operator": status(url, account(site, "a", role="operator")),
        "viewer": status(url, account(site, "b", role="viewer")),
        "granted": status(url, account(site, "c", role="none", grants={"doubled": "operator"})),
        "granted elsewhere": status(url, account(site, "d", role="none", grants={"other": "operator"})),
        "may look only": status(url, account(site, "e", role="none", grants={"doubled": "viewer"})),
        "key for it": status(url, account(site, "f", {"templates": ["doubled"]}, role="operator")),
        "key for another": status(url, account(site, "g", {"templates": ["other"]}, role="operator")),
        "nobody": status(url, None),
        "empty": status(url, ""),
        "blank": status(url, "   "),
        "unknown": status(url, "pk_" + "x" * 40),
        "two words": status(url, "two words"),
    }
    assert told == {
        "operator": 200,
        "viewer": 403,
        "granted": 200,
        "granted elsewhere": 403,
        "may look only": 403,
        "key for it": 200,
        "key for another": 403,
        "nobody": 401,
        "empty": 401,
        "blank": 401,
        "unknown": 401,
        "two words": 401,
    }
    document = httpx.get(f"{url}/openapi.json").json()
    assert document["paths"]["/invoke"]["post"]["security"] == [{"key": []}]


def test_a_service_has_no_way_to_let_itself_in(site: Site) -> None:
    """Its own token reports what it was asked; it is no caller."""
    found = site.get("/deployments/doubled")
    plan = httpx.Response(200, content=(site.home / "deployments" / found["id"] / "plan.json").read_bytes()).json()
    assert status(found["url"], plan["token"]) == 403


def test_a_key_that_is_withdrawn_and_one_of_the_deployment(site: Site) -> None:
    url = site.get("/deployments/doubled")["url"]
    key = account(site, "a", role="operator")
    assert status(url, key) == 200
    site.api.patch("/service_accounts/a", json={"role": "viewer"}).raise_for_status()
    assert status(url, key) == 403
    own = site.post("/deployments/doubled/keys", {"name": "own"}, 201)["key"]
    eventually(lambda: status(url, own) == 200, what="the key of the deployment")


def test_while_the_server_is_away_only_those_are_let_in_who_are_remembered(
    new_site: Callable[..., Site], tmp_path: Path
) -> None:
    site = deployed(new_site(), tmp_path, 3600)
    url = site.get("/deployments/doubled")["url"]
    known, fresh = account(site, "a", role="operator"), account(site, "b", role="operator")
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: status(url, known), range(64))) == {200}
    site.kill()
    assert status(url, known) == 200
    refused = httpx.post(f"{url}/invoke", json={}, headers={"Authorization": f"Bearer {fresh}"}, timeout=PATIENCE)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert status(url, None) == 401
    assert httpx.get(f"{url}/health").status_code == 200
    site.restart()
    assert status(url, fresh) == 200
