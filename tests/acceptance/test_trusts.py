"""A CI job comes with a token of its provider, a process of its own that speaks OpenID Connect, and holds no secret of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.acceptance.site_under_test import Site, eventually

CLAIMS = {"sub": "repo:me/models:ref:refs/heads/main", "repository": "me/models"}


@pytest.fixture
def provider() -> Iterator[str]:
    """The URL of a real provider."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "oidc_provider_mock",
            "--port",
            "0",
            "--user-claims",
            json.dumps(CLAIMS),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail(said)
    yield found[0]
    process.kill()
    process.communicate()


def id_token(provider: str) -> str:
    """What the provider says of the job: the ordinary dance of a code, without the browser."""
    back = "http://127.0.0.1/back"
    asked = {"client_id": "penstock", "redirect_uri": back, "response_type": "code", "scope": "openid"}
    answer = httpx.post(f"{provider}/oauth2/authorize", params=asked, data={"sub": CLAIMS["sub"]})
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    wanted = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
    told = httpx.post(f"{provider}/oauth2/token", data=wanted, auth=("penstock", "secret"))
    return str(told.json()["id_token"])


def test_a_job_triggers_with_the_token_of_its_provider(site: Site, provider: str) -> None:
    eventually(
        lambda: httpx.get(f"{provider}/.well-known/openid-configuration").status_code == 200, what="the provider"
    )
    site.penstock("service-account", "create", "ci", "--role", "none", "--grant", "lab=operator")
    trust = ["trust", "create", "github", "--issuer", provider, "--audience", "penstock", "--account", "ci"]
    site.penstock(*trust, "--claim", "repository=me/*")
    token = id_token(provider)
    job = httpx.Client(base_url=f"{site.url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=90)
    with job:
        answer = job.post("/run_templates/lab/runs", json={"parameters": {"number": 6}}, headers={"Prefer": "wait=60"})
        assert (answer.status_code, answer.json()["outputs"]) == (200, {"output": {"value": 36}})
        assert answer.json()["cause"]["account"] == "ci"
        assert job.get("/service_accounts").status_code == 403
    exchange = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": token}
    ours = httpx.post(f"{site.url}/api/v1/login", data=exchange).json()["access_token"]
    with httpx.Client(base_url=f"{site.url}/api/v1", headers={"Authorization": f"Bearer {ours}"}) as job:
        seen = job.get("/runs", params={"account": "ci"}).json()
        assert [one["id"] for one in seen["items"]] == [answer.json()["id"]]
        assert {one["template_name"] for one in job.get("/runs").json()["items"]} == {"lab"}
        site.penstock("trust", "delete", "github")
        assert job.get("/runs").status_code == 401
    assert httpx.get(f"{site.url}/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    listed = json.loads(site.penstock("audit", "list", "--action", "start_run", "--account", "ci", "-o", "json").stdout)
    (entry,) = listed["items"]
    assert (entry["outcome"], entry["address"]) == ("done", "127.0.0.1")
    assert site.penstock("audit", "verify").stdout.split()[:2] == ["Intact", "yes"]
