"""Keys and tokens: who they stand for, and when they stop."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from penstock.control import accounts
from penstock.control.installation import now
from penstock.control.tokens import Signer, load_secret
from penstock.errors import Conflict, Unauthenticated
from penstock.model.account import Permission
from penstock.store import accounts as stored
from tests.unit.control.conftest import House


def key(house: House, **options: Any) -> str:
    with house.here.db.write() as session:
        account = accounts.create(session, name="ci")
        return accounts.create_key(session, account, accounts.KeyWish(name="k", **options)).key


def test_a_key_stands_for_its_account_with_the_rights_of_its_role(house: House) -> None:
    principal = accounts.authenticate(house.here, key(house))
    assert (principal.name, principal.kind) == ("ci", "service")
    assert principal.permissions == {Permission.SELF, Permission.READ, Permission.RUN}


def test_only_the_hash_of_a_key_is_stored(house: House) -> None:
    text = key(house)
    house.here.db.close()
    secret = text.split("_")[2][:32].encode()
    for file in house.here.settings.home.glob("penstock.db*"):
        assert secret not in file.read_bytes()


def test_a_revoked_key_and_its_tokens_are_refused_at_once(house: House) -> None:
    text = key(house)
    token = accounts.log_in(house.here, text)
    assert accounts.authenticate(house.here, token).name == "ci"
    with house.here.db.write() as session:
        accounts.revoke_key(session, accounts.get(session, "ci"), "k")
    for credential in (text, token):
        with pytest.raises(Unauthenticated):
            accounts.authenticate(house.here, credential)
    with house.here.db.write() as session, pytest.raises(Conflict, match="revoked"):
        accounts.rotate_key(session, accounts.get(session, "ci"), "k")


def test_an_expired_key_is_refused(house: House) -> None:
    with pytest.raises(Unauthenticated):
        accounts.authenticate(house.here, key(house, expires_in_days=-1.0))


def test_a_rotated_key_has_two_texts_for_a_while(house: House) -> None:
    old = key(house)
    with house.here.db.write() as session:
        new = accounts.rotate_key(session, accounts.get(session, "ci"), "k", retain_minutes=5).key
    assert accounts.authenticate(house.here, old).key_id == accounts.authenticate(house.here, new).key_id
    with house.here.db.write() as session:
        newest = accounts.rotate_key(session, accounts.get(session, "ci"), "k").key
    with pytest.raises(Unauthenticated):
        accounts.authenticate(house.here, new)
    assert accounts.authenticate(house.here, newest).name == "ci"


def test_tokens_of_one_kind_are_not_taken_for_another(house: House) -> None:
    run = house.here.signer.sign("run", "some-run", lifetime=60)
    with pytest.raises(Unauthenticated):
        accounts.authenticate(house.here, run)
    with pytest.raises(Unauthenticated):
        accounts.authenticate_run(house.here, accounts.log_in(house.here, key(house)))


def test_tokens_expire_and_those_of_others_are_refused(house: House) -> None:
    expired = house.here.signer.sign("run", "r", lifetime=-5)
    foreign = Signer(b"1" * 48).sign("run", "r", lifetime=60)
    for token in (expired, foreign, "a.b.c", ""):
        with pytest.raises(Unauthenticated):
            accounts.authenticate_run(house.here, token)


def test_a_clock_that_was_put_back_cuts_off_no_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    token = house.here.signer.sign("run", "r", lifetime=7200)
    monkeypatch.undo()
    assert accounts.authenticate_run(house.here, token).run_id == "r"


def test_the_secret_is_made_once_and_private(house: House) -> None:
    path = house.here.settings.home / "secret.key"
    assert load_secret(path) == load_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(path.parent.glob("secret*"))) == 1


def test_last_use_is_noted(house: House) -> None:
    accounts.authenticate(house.here, key(house))
    with house.here.db.read() as session:
        used = stored.get_key(session, accounts.get(session, "ci").id, "k").last_used
    assert used is not None
    assert now() - used < timedelta(minutes=1)
