from __future__ import annotations

import pytest
from sqlalchemy import event

from penstock.control import accounts
from penstock.control.accounts import Change, KeyWish
from penstock.errors import Unauthenticated
from penstock.model.account import Account, Permission
from penstock.store import memory
from penstock.store.accounts import CREDENTIALS
from tests.unit.control.conftest import House


class Office:
    """An account with a key, and how many statements the store is asked."""

    def __init__(self, house: House) -> None:
        self.house, self.here, self.asked = house, house.here, 0
        with self.here.db.write() as session:
            self.account: Account = accounts.create(session, name="ci", role="editor")
            self.key = accounts.create_key(session, self.account, KeyWish(name="one")).key
        event.listen(self.here.db._engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.asked += 1

    def cost(self) -> int:
        """Statements of one more authentication."""
        before = self.asked
        assert accounts.authenticate(self.here, self.key).name == "ci"
        return self.asked - before


@pytest.fixture
def office(house: House) -> Office:
    return Office(house)


def test_the_second_look_asks_the_store_nothing(office: Office) -> None:
    assert accounts.recognised(office.here, office.key) is None
    assert office.cost() > 0
    assert office.cost() == 0
    known = accounts.recognised(office.here, office.key)
    assert known is not None
    assert known.name == "ci"


def test_what_puts_a_key_out_of_force_is_seen_at_once(office: Office) -> None:
    office.cost()
    with office.here.db.write() as session:
        accounts.revoke_key(session, office.account, "one")
    assert accounts.recognised(office.here, office.key) is None
    with pytest.raises(Unauthenticated):
        accounts.authenticate(office.here, office.key)


def test_so_is_another_role_and_a_removed_account(office: Office) -> None:
    office.cost()
    with office.here.db.write() as session:
        accounts.change(session, "ci", Change(role="viewer"))
    assert Permission.WRITE not in accounts.authenticate(office.here, office.key).permissions
    with office.here.db.write() as session:
        accounts.delete(session, "ci")
    with pytest.raises(Unauthenticated):
        accounts.authenticate(office.here, office.key)


def test_a_change_that_was_given_up_outdates_nothing(office: Office) -> None:
    office.cost()

    def give_up() -> None:
        with office.here.db.write() as session:
            accounts.revoke_key(session, office.account, "one")
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    assert office.cost() == 0


def test_another_secret_under_the_same_public_part_is_refused(office: Office) -> None:
    office.cost()
    wrong = office.key[:-12] + "a" * 12
    with pytest.raises(Unauthenticated):
        accounts.authenticate(office.here, wrong)


def test_not_more_than_so_many_are_remembered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 2)
    keys = []
    for number in range(5):
        with office.here.db.write() as session:
            keys.append(accounts.create_key(session, office.account, KeyWish(name=f"k{number}")).key)
    for key in keys:
        accounts.authenticate(office.here, key)
    assert len(office.here.db.memory._known[CREDENTIALS]) <= 2


def test_where_others_write_too_nothing_is_remembered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office.here.db, "memory", memory.Memory(alone=False))
    assert office.cost() > 0
    assert office.cost() > 0
