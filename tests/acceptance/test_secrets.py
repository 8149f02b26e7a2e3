"""Secrets: given as references, read where they are used, and never seen anywhere else."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from pydantic import SecretStr

from penstock.errors import InvalidInput
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.pipelines import vault
from tests.acceptance.site_under_test import Site

VALUE = "correct horse battery"


@pytest.fixture(scope="module")
def market(site: Site) -> Site:
    for name in ("vault", "careless"):
        site.template(f"{PIPELINES / 'vault.py'}:{name}", name)
    site.penstock("secret", "set", "db", f"password={VALUE}", "token=t0ken-of-db")
    return site


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_reference_becomes_the_value_in_the_step_and_nowhere_else(market: Site) -> None:
    parameters = {"token": "{{db.token}}", "login": {"user": "u", "password": "{{ db.password }}"}}
    run = market.ended(market.trigger("vault", parameters)["id"])
    assert run["state"] == "completed", run["error"]
    assert run["outputs"] == {
        "used": [digest("t0ken-of-db"), digest(VALUE), "SecretStr('**********')"],
        "connected": [digest(VALUE), digest(f"sql://u:{VALUE}@host")],
    }
    assert run["parameters"] == parameters
    everything = json.dumps([run, market.get(f"/runs/{run['id']}/steps"), market.get(f"/runs/{run['id']}/events")])
    assert VALUE not in everything
    assert "t0ken-of-db" not in everything


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"token": VALUE}, "/parameters/token"),
        ({"token": 7654321}, "/parameters/token"),
        ({"token": "{{db.token}}", "login": {"user": "u", "password": VALUE}}, "/parameters/login"),
        ({"token": "{{db.token}} " + VALUE}, "/parameters/token"),
    ],
)
def test_a_value_in_clear_is_refused_without_being_repeated(
    market: Site, parameters: dict[str, object], pointer: str
) -> None:
    answer = market.api.post("/run_templates/vault/runs", json={"parameters": parameters})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert "{{name.key}}" in answer.json()["errors"][0]["message"]
    assert VALUE not in answer.text
    assert "7654321" not in answer.text


def test_what_user_code_lets_out_is_hidden(market: Site) -> None:
    run = market.ended(market.trigger("careless", {"token": "{{db.password}}"})["id"])
    assert run["outputs"] == {"output": "the value is ***"}
    assert "begun *** ended" in market.lines(run["id"])
    steps = market.get(f"/runs/{run['id']}/steps")["items"]
    assert steps[0]["metadata"] == {"leaked": "***"}
    failed = market.ended(market.trigger("careless", {"token": "{{db.password}}", "fails": True})["id"])
    assert failed["error"]["message"] == "cannot log in with ***"
    assert VALUE not in json.dumps([failed, market.lines(failed["id"])])


def test_a_secret_that_there_is_not_is_told(market: Site) -> None:
    run = market.ended(market.trigger("vault", {"token": "{{bd.token}}"})["id"])
    assert run["state"] == "failed"
    assert "There is no secret 'bd'" in run["error"]["message"]
    run = market.ended(market.trigger("vault", {"token": "{{db.tokn}}"})["id"])
    assert "has no key 'tokn'" in run["error"]["message"]


def test_the_command_never_prints_values_and_files_are_private(market: Site) -> None:
    market.penstock("secret", "set", "other", "key=some-value")
    listed = market.penstock("secret", "list")
    assert "other" in listed.stdout
    assert "some-value" not in listed.stdout + listed.stderr
    file = market.home / "secrets" / "other.json"
    assert file.stat().st_mode & 0o777 == 0o600
    os.chmod(file, 0o644)
    assert "Others can read" in market.penstock("secret", "list").stdout
    os.chmod(file, 0o600)
    market.penstock("secret", "delete", "other")
    assert not file.exists()
    assert market.penstock("secret", "delete", "other", status=None).returncode != 0


def test_references_work_in_a_direct_call_too_and_values_are_not_sent(
    market: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in market.environment.items():
        monkeypatch.setenv(name, value)
    login = vault.Login(user="u", password=SecretStr("{{db.password}}"))
    run = vault.vault(token=SecretStr("{{db.token}}"), login=login)
    assert run.outputs is not None
    assert run.outputs["used"][:2] == [digest("t0ken-of-db"), digest(VALUE)]
    for given in (
        {"token": SecretStr(VALUE)},
        {"token": SecretStr("{{db.token}}"), "login": vault.Login(user="u", password=SecretStr(VALUE))},
    ):
        with pytest.raises(InvalidInput) as caught:
            vault.vault(**given)
        assert VALUE not in str(caught.value)
