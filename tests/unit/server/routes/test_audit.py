"""The audit log over HTTP: what is in it, and that nobody changes it unseen."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from penstock.control import accounts, audit, decisions
from penstock.control.installation import Installation, now
from penstock.ids import new_id
from penstock.model.audit import Entry
from penstock.store import audit as stored
from tests.unit.control.conftest import House
from tests.unit.control.conftest import house as house_of_control
from tests.unit.server.conftest import ask
from tests.unit.server.routes.test_users import PASSWORD, Browser
from tests.unit.server.test_access import app as app_of_house
from tests.unit.server.test_access import key, with_key
from tests.unit.server.test_app import table

house, app = house_of_control, app_of_house

assert decisions  # triggers are on record there besides


@pytest.fixture(autouse=True)
def audited(house: House) -> None:
    house.here.db.closing = audit.closing  # as `open_installation` has it


def entries(app: FastAPI, text: str, **filters: Any) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    found = with_key(app, text)("GET", f"/audit?size=200&{query}").json()
    return list(found["items"])


class TestWhatIsInIt:
    def test_who_triggered_what_with_which_key_from_where(self, app: FastAPI, house: House) -> None:
        house.template("mine")
        root, text = key(house.here, "root", role="admin"), key(house.here, "ci")
        headers = {"User-Agent": "curl/8", "X-Request-Id": "req-7"}
        run = with_key(app, text)("POST", "/run_templates/mine/runs", headers=headers).json()
        (entry,) = entries(app, root, action="start_run")
        assert (entry["object"], entry["outcome"], entry["status"]) == (f"runs/{run['id']}", "done", 202)
        assert (entry["account"], entry["kind"], entry["agent"]) == ("ci", "service", "curl/8")
        assert entry["key_id"] == run["cause"]["key_id"]
        assert entry["request_id"] == "req-7"
        assert entry["address"] == "127.0.0.1"
        assert PASSWORD not in json.dumps(entry)

    def test_a_trigger_that_was_refused(self, app: FastAPI, house: House) -> None:
        house.template("mine")
        root = key(house.here, "root", role="admin")
        assert with_key(app, root)("POST", "/run_templates/mine/runs", json={"parameters": {"x": 1}}).status_code == 422
        (entry,) = entries(app, root, action="start_run")
        assert (entry["outcome"], entry["status"], entry["problem"]) == ("refused", 422, "invalid-input")
        assert entry["object"] == "template mine"

    def test_every_change_has_one_entry_with_it(self, app: FastAPI, house: House) -> None:
        house.template("mine")
        root = key(house.here, "root", role="admin")
        send = with_key(app, root)
        deeds = [
            ("POST", "/service_accounts", {"name": "a"}, "create_service_account", "service_accounts/a"),
            ("PATCH", "/service_accounts/a", {"role": "viewer"}, "change_service_account", "service_accounts/a"),
            ("POST", "/service_accounts/a/api_keys", {"name": "k"}, "create_api_key", "service_accounts/a/api_keys/k"),
            (
                "POST",
                "/service_accounts/a/api_keys/k/rotate",
                {},
                "rotate_api_key",
                "service_accounts/a/api_keys/k/rotate",
            ),
            ("DELETE", "/service_accounts/a/api_keys/k", None, "revoke_api_key", "service_accounts/a/api_keys/k"),
            ("DELETE", "/service_accounts/a", None, "delete_service_account", "service_accounts/a"),
            ("PATCH", "/run_templates/mine", {"add_tags": ["t"]}, "annotate_template", "run_templates/mine"),
            (
                "PUT",
                "/run_templates/mine/aliases/prod",
                {"version": "v1"},
                "promote_template",
                "run_templates/mine/aliases/prod",
            ),
            ("POST", "/users", {"name": "ann"}, "invite_user", "users/ann"),
            ("DELETE", "/run_templates/mine", None, "delete_template", "run_templates/mine"),
        ]
        for method, path, body, action, about in deeds:
            before = len(entries(app, root))
            assert send(method, path, json=body).status_code < 300, path
            found = entries(app, root)
            assert len(found) == before + 1, path
            assert (found[0]["action"], found[0]["object"], found[0]["outcome"]) == (action, about, "done")

    def test_reading_leaves_none(self, app: FastAPI, house: House) -> None:
        root = key(house.here, "root", role="admin")
        for method, path, rule in table(app):
            if method == "GET" and rule is not None and "{" not in path:
                ask(app, method, path, headers={"Authorization": f"Bearer {root}"})
        assert entries(app, root) == []

    def test_a_change_that_fails_leaves_a_refusal(self, app: FastAPI, house: House) -> None:
        root = key(house.here, "root", role="admin")
        send = with_key(app, root)
        assert send("POST", "/service_accounts", json={"name": "root"}).status_code == 409
        (entry,) = entries(app, root)
        assert (entry["outcome"], entry["status"], entry["problem"]) == ("refused", 409, "conflict")

    def test_keys_that_are_refused_and_keys_that_reach_too_far(self, app: FastAPI, house: House) -> None:
        root, viewer = key(house.here, "root", role="admin"), key(house.here, "v", role="viewer")
        assert with_key(app, viewer)("GET", "/service_accounts").status_code == 403
        assert with_key(app, "psk_wrong")("GET", "/runs").status_code == 401
        assert ask(app, "GET", "/api/v1/runs").status_code == 401  # nobody, with nothing
        wrong, far = entries(app, root, outcome="refused")
        assert (wrong["status"], wrong["kind"], wrong["object"]) == (401, "nobody", "runs")
        assert (far["status"], far["account"], far["object"]) == (403, "v", "service_accounts")

    def test_it_is_not_flooded_by_refusals(self, app: FastAPI, house: House) -> None:
        root = key(house.here, "root", role="admin")
        stranger = Browser(app, address="203.0.113.77")
        for _ in range(60):
            stranger.ask("GET", "/runs", headers={"Authorization": "Bearer psk_wrong"})
        assert 20 <= len(entries(app, root, address="203.0.113.77")) <= 45

    def test_signing_in(self, app: FastAPI, house: House) -> None:
        root = key(house.here, "root", role="admin")
        code = with_key(app, root)("POST", "/users", json={"name": "ann"}).json()["code"]
        browser = Browser(app, address="203.0.113.9")
        browser.ask("POST", "/users/activate", json={"code": code, "password": PASSWORD})
        browser.sign_in("ann", "wrong wrong")
        browser.sign_in("ann")
        found = entries(app, root, address="203.0.113.9")
        assert [(one["action"], one["account"], one["outcome"]) for one in found] == [
            ("sign_in", "ann", "done"),
            ("sign_in", "ann", "refused"),
            ("activate", "ann", "done"),
        ]
        browser.ask("PUT", "/me/password", json={"current": "wrong wrong", "new": "another password"})
        assert entries(app, root, action="change_password", outcome="refused")[0]["status"] == 401
        assert entries(app, root, action="change_password", outcome="done") == []
        assert ask(app, "POST", "/api/v1/login", json={"api_key": root}).status_code == 200
        assert entries(app, root, action="log_in")[0]["outcome"] == "done"

    def test_nobody_else_reads_it(self, app: FastAPI, house: House) -> None:
        for text in (key(house.here, "e", role="editor"), key(house.here, "n", role="admin", templates=["mine"])):
            for path in ("/audit", "/audit/verify", "/audit/export"):
                assert with_key(app, text)("GET", path).status_code == 403


def some(here: Installation, count: int, **said: Any) -> None:
    plain = Entry(id="", at=now(), action="a", object="o", outcome="done", status=200, kind="owner")
    with here.db.write() as session:
        for _ in range(count):
            stored.insert(session, replace(plain, id=new_id(), **said))


def sql(house: House, statement: str, *values: Any) -> None:
    with sqlite3.connect(house.here.settings.home / "penstock.db") as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


class TestTheChain:
    def test_it_is_whole_and_says_how_far(self, house: House) -> None:
        some(house.here, 2500)
        found = audit.verify(house.here)
        assert (found.intact, found.first, found.last, found.waiting) == (True, 1, 2500, 0)
        assert audit.verify(house.here, (2500, found.digest)).intact
        assert not audit.verify(house.here, (2500, "0" * 64)).intact
        assert not audit.verify(house.here, (2501, found.digest)).intact

    @pytest.mark.parametrize(
        ("what", "statement", "at"),
        [
            ("edited", "UPDATE audit_entries SET account = 'eve' WHERE number = 30", 30),
            ("edited in its time", "UPDATE audit_entries SET at = at + 1 WHERE number = 31", 31),
            ("removed", "DELETE FROM audit_entries WHERE number = 32", 32),
            ("cut off at the end", "DELETE FROM audit_entries WHERE number > 33", 34),
            ("cut off at the beginning", "DELETE FROM audit_entries WHERE number < 5", 1),
            ("put elsewhere", "UPDATE audit_entries SET number = 1000 - number WHERE number = 35", 35),
            ("taken out of the chain", "UPDATE audit_entries SET number = NULL WHERE number = 36", 36),
            ("given another end", "UPDATE audit_marks SET number = 20 WHERE name = 'head'", 1),
            ("left without an end", "DELETE FROM audit_marks", 41),
        ],
    )
    def test_every_change_is_found(self, house: House, what: str, statement: str, at: int) -> None:
        some(house.here, 40)
        assert audit.verify(house.here).intact
        sql(house, statement)
        found = audit.verify(house.here)
        assert (found.intact, found.broken_at) == (False, at), what
        assert found.reason

    def test_what_comes_meanwhile_is_no_matter(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        some(house.here, 5)
        whole = audit.entries

        def slowly(*given: Any) -> Any:
            for entry in whole(*given):
                yield entry
                if entry.number == 5:
                    some(house.here, 3)
                    audit.seal(house.here)

        monkeypatch.setattr(audit, "entries", slowly)
        assert audit.verify(house.here).intact

    def test_two_that_change_places_are_found(self, house: House) -> None:
        some(house.here, 10)
        audit.verify(house.here)
        sql(house, "UPDATE audit_entries SET number = 100 WHERE number = 4")
        sql(house, "UPDATE audit_entries SET number = 4 WHERE number = 5")
        sql(house, "UPDATE audit_entries SET number = 5 WHERE number = 100")
        assert audit.verify(house.here).broken_at == 4

    def test_a_whole_chain_written_anew_is_found(self, house: House) -> None:
        """Who has the database, and not the secret, cannot sign its end; who has both is found by what was noted elsewhere."""
        some(house.here, 5)
        noted = audit.verify(house.here)
        sql(house, "UPDATE audit_marks SET digest = ? WHERE name = 'head'", "1" * 64)
        assert "signed" in str(audit.verify(house.here).reason)
        sql(house, "DELETE FROM audit_marks")
        sql(house, "UPDATE audit_entries SET number = NULL, account = 'eve'")
        assert audit.verify(house.here).intact
        assert not audit.verify(house.here, (noted.last, noted.digest)).intact

    def test_many_writers_and_sealers_make_one_chain(self, house: House) -> None:
        def work(number: int) -> None:
            some(house.here, 5, account=f"a{number}")
            audit.seal(house.here)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(20)))
        found = audit.verify(house.here)
        assert (found.intact, found.last) == (True, 100)

    def test_what_has_had_its_time_goes_and_the_rest_holds(self, house: House) -> None:
        old = now() - timedelta(days=400)
        some(house.here, 1500, at=old)
        some(house.here, 10)
        audit.verify(house.here)
        while audit.forget(house.here):
            pass
        found = audit.verify(house.here)
        assert (found.intact, found.first, found.last) == (True, 1501, 1510)
        sql(house, "DELETE FROM audit_entries WHERE number = 1501")
        assert audit.verify(house.here).broken_at == 1501

    def test_what_was_changed_is_not_forgotten_as_if_its_time_were_over(self, house: House) -> None:
        some(house.here, 10)
        audit.verify(house.here)
        sql(house, "UPDATE audit_entries SET at = 0 WHERE number < 5")
        assert audit.forget(house.here) == 0
        assert audit.verify(house.here).broken_at == 1

    def test_the_export_is_verified_by_anybody(self, app: FastAPI, house: House) -> None:
        root = key(house.here, "root", role="admin")
        with_key(app, root)("POST", "/service_accounts", json={"name": "a"})
        with_key(app, root)("DELETE", "/service_accounts/a")
        import hashlib  # here: what a stranger would write, all of it in one place

        previous, count = "0" * 64, 0
        for count, line in enumerate(with_key(app, root)("GET", "/audit/export").text.splitlines(), 1):
            entry = json.loads(line)
            told = entry.pop("digest")
            assert (entry["number"], entry["previous"]) == (count, previous)
            text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
            previous = hashlib.sha256(text.encode()).hexdigest()
            assert previous == told
        assert count == 2
        assert with_key(app, root)("GET", f"/audit/verify?anchor={count}:{previous}").json()["intact"] is True
        assert with_key(app, root)("GET", "/audit/verify?anchor=x").status_code == 422
        assert with_key(app, root)("GET", "/audit?since=2026-01-01T00:00:00").status_code == 422


def test_a_change_without_its_entry_is_not_stored(app: FastAPI, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are one transaction: a log that cannot be written is no way to act unseen."""
    root = key(house.here, "root", role="admin")
    sql_free = "CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'full'); END"
    with sqlite3.connect(house.here.settings.home / "penstock.db") as connection:
        connection.execute(sql_free)
    connection.close()
    assert with_key(app, root)("POST", "/service_accounts", json={"name": "a"}).status_code >= 500
    with house.here.db.read() as session, pytest.raises(LookupError):
        accounts.get(session, "a")
