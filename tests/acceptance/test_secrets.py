"""Secrets: given as references, read where they are used, and never seen anywhere else."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from pydantic import SecretStr

from penstock.errors import InvalidInput
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.pipelines import vault
from tests.acceptance.site_under_test import Site, eventually
from tests.receivers import receiver

VALUE = "correct horse battery"


@pytest.fixture(scope="module")
def market(site: Site) -> Site:
    for name in ("vault", "careless", "cutting"):
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


CUTS = ("long error", "end of a long error", "error of a library", "text", "bytes")


def parts(value: str) -> set[str]:
    """What must be nowhere: the value, and what is left of it where it was cut; as it is, and as a preview of bytes."""
    shown = value.encode().hex(" ")
    pieces = {value[start : start + 6] for start in range(len(value) - 5)}
    return {value, *pieces, *(shown[start : start + 14] for start in range(0, len(shown) - 13, 3))}


@pytest.mark.parametrize("how", CUTS)
def test_who_is_called_back_sees_none_not_even_half_of_one(market: Site, how: str) -> None:
    before = (market.home / "server.out").stat().st_size
    with receiver(lambda number: (500 if number == 0 else 204, {})) as desk:
        wanted = {"parameters": {"token": "{{db.password}}", "how": how}, "callback_url": f"{desk.url}/hook"}
        run = market.post("/run_templates/cutting/runs", wanted)
        eventually(lambda: desk.received, what="the callback came")
        refused = eventually(
            lambda: next((one for one in told(market, run["id"]) if one["problem"]), None), what="that it was refused"
        )
        assert refused["problem"] == "It answered 500."
        market.post(f"/callbacks/{refused['id']}/redeliver")
        eventually(lambda: told(market, run["id"])[0]["state"] == "delivered", what="it was delivered")
    ended = market.get(f"/runs/{run['id']}")
    assert ended["state"] == ("failed" if "error" in how else "completed"), ended
    artifacts = [{**one, "files": []} for one in market.get("/artifacts", run_id=run["id"])["items"]]
    seen = {
        "what was sent": b"".join(one.body + str(one.headers).encode() for one in desk.received),
        "callbacks": json.dumps(told(market, run["id"])).encode(),
        "run": json.dumps([ended, artifacts, market.get(f"/runs/{run['id']}/steps")["items"]]).encode(),
        "output": "\n".join(market.lines(run["id"])).encode(),
        "events": market.api.get(f"/runs/{run['id']}/events").content,
        "log": (market.home / "server.out").read_bytes()[before:],
        **stored(market),
    }
    assert b"***" in seen["what was sent"] or how in ("text", "bytes")
    assert {where for where, text in seen.items() if any(part.encode() in text for part in parts(VALUE))} == set()


def told(site: Site, run_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = site.get(f"/runs/{run_id}/callbacks")["items"]
    return items


def stored(site: Site) -> dict[str, bytes]:
    """All rows of the database, the outbox among them."""
    with closing(sqlite3.connect(site.home / "penstock.db")) as connection:
        return {"database": "\n".join(connection.iterdump()).encode()}


def test_what_is_wrong_with_a_receiver_is_told_without_the_secrets_in_its_address(market: Site) -> None:
    with receiver() as gone:
        url = f"{gone.url}/hook?token=of-the-receiver"
    wanted = {"parameters": {"token": "{{db.password}}"}, "callback_url": url}
    run = market.post("/run_templates/careless/runs", wanted)
    failed = eventually(lambda: next((one for one in told(market, run["id"]) if one["problem"]), None), what="a try")
    decided = market.get("/decisions", run_id=run["id"])
    everything = json.dumps([failed, decided, market.get("/audit"), market.get(f"/runs/{run['id']}")])
    assert "of-the-receiver" not in everything + (market.home / "server.out").read_text()


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
