"""What every database must do for people, for what lets them in, and for the audit log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from penstock.errors import Conflict, NotFound
from penstock.ids import digest_of, new_id
from penstock.model.account import Account
from penstock.model.audit import GENESIS, Entry, Mark, chained
from penstock.model.device import Device
from penstock.model.session import Session
from penstock.model.trust import Trust
from penstock.store import accounts, audit, devices, sessions, trusts, users
from penstock.store.paging import Window
from penstock.store.session import Database, WriteSession
from tests.unit.store.samples import AT, later


def person(ws: WriteSession, name: str = "ada") -> Account:
    account = Account(id=new_id(), name=name, kind="person", role="none", grants={"train": "operator"}, created=AT)
    accounts.insert(ws, account)
    return account


class TestPeople:
    def test_a_person_has_a_password_when_it_is_set(self, db: Database) -> None:
        with db.write() as ws:
            ada = person(ws)
            accounts.insert(ws, Account(id=new_id(), name="ci", created=AT))
        with db.read() as rs:
            assert users.find(rs, "ada") == users.Person(account=ada, digest=None, epoch=0)
            assert users.find(rs, ada.id, by_id=True) == users.find(rs, "ada")
            assert users.find(rs, "ci") is None
            assert users.count(rs) == 1
        with db.write() as ws:
            users.set_password(ws, ada.id, "one", 1, AT)
            users.set_password(ws, ada.id, "two", 2, later(1))
            users.next_epoch(ws, ada.id)
            assert users.find(ws, "ada") == users.Person(account=ada, digest="two", epoch=3)
            changed = replace(ada, role="admin", grants={}, active=False, description="a\x00b")
            accounts.save(ws, changed)
            assert accounts.get(ws, "ada") == changed

    def test_a_code_is_good_once_however_many_use_it_at_once(self, db: Database) -> None:
        with db.write() as ws:
            users.insert_code(ws, "a" * 64, None, later(60))
            users.insert_code(ws, "b" * 64, None, later(60))  # in the place of the one before
            users.insert_code(ws, "c" * 64, person(ws).id, AT)

        def take(_: int) -> bool:
            with db.write() as ws:
                return users.take_code(ws, "b" * 64, AT)[0]

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(16))) == 1
        with db.write() as ws:
            assert users.take_code(ws, "a" * 64, AT) == (False, None)
            assert users.take_code(ws, "c" * 64, AT) == (False, None)  # its time is over

    def test_failures_count_up_within_their_time(self, db: Database) -> None:
        def fail(_: int) -> None:
            with db.write() as ws:
                users.note_failure(ws, "a" * 64, AT, later(60))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fail, range(16)))
        with db.write() as ws:
            assert users.failures(ws, ["a" * 64, "b" * 64], AT) == {"a" * 64: (16, later(60))}
            assert users.failures(ws, ["a" * 64], later(60)) == {}
            users.note_failure(ws, "a" * 64, later(61), later(120))
            assert users.failures(ws, ["a" * 64], later(61)) == {"a" * 64: (1, later(120))}
            users.forget_failures(ws, "a" * 64)
            assert users.failures(ws, ["a" * 64], later(61)) == {}
            users.note_failure(ws, "c" * 64, AT, later(60))
            assert users.purge(ws, later(60)) == 1

    def test_sessions_go_one_by_one_all_at_once_and_with_their_account(self, db: Database) -> None:
        with db.write() as ws:
            ada, bob = person(ws), person(ws, "bob")
            made = [
                Session(id=new_id(), account_id=who.id, agent="a\x00b", created=AT, seen=AT, expires=later(60))
                for who in (ada, ada, ada, bob)
            ]
            for one in made:
                sessions.insert(ws, one, digest_of(one.id.encode()))
            assert sessions.find(ws, digest_of(made[0].id.encode())) == (made[0], ada)
            assert sessions.find(ws, "0" * 64) is None
            sessions.touch(ws, made[0].id, later(5))
            assert sessions.page(ws, ada.id, Window()).items == (made[2], made[1], replace(made[0], seen=later(5)))
            assert sessions.end(ws, bob.id, made[0].id) is False
            assert sessions.end(ws, ada.id, made[0].id) is True
            assert sessions.end_all(ws, ada.id) == 2
            accounts.remove(ws, bob.id)
            assert sessions.find(ws, digest_of(made[3].id.encode())) is None


class TestDevices:
    def device(self, code: str = "BCDF-GHJK", seconds: float = 60) -> Device:
        digest, expires = digest_of(code.encode()), later(seconds)
        return Device(digest=digest, user_code=code, client="a\x00b", address=None, created=AT, expires=expires)

    def test_a_device_is_found_both_ways_and_goes(self, db: Database) -> None:
        one = self.device()
        with db.write() as ws:
            devices.insert(ws, one)
            devices.insert(ws, self.device("ZZZZ-ZZZZ", 0))
            answered = replace(one, state="approved", account_id=person(ws).id, polled=later(1), interval=10)
            devices.save(ws, answered)
            assert devices.find(ws, one.digest) == devices.by_code(ws, one.user_code) == answered
            assert devices.purge(ws, AT) == 1
            assert devices.count(ws) == 1
            devices.remove(ws, one.digest)
            assert devices.find(ws, one.digest) is None


class TestTrusts:
    def trust(self, account: Account, name: str = "github", issuer: str = "https://a") -> Trust:
        return Trust(
            id=new_id(),
            name=name,
            issuer=issuer,
            audience="penstock",
            account_id=account.id,
            conditions={"sub": "a\x00*"},
            created=AT,
        )

    def test_they_are_found_by_issuer_and_go_with_their_account(self, db: Database) -> None:
        with db.write() as ws:
            ci = Account(id=new_id(), name="ci", created=AT)
            accounts.insert(ws, ci)
            first, second = self.trust(ci), self.trust(ci, "second")
            for one in (first, second, self.trust(ci, "other", "https://b")):
                trusts.insert(ws, one)
            assert trusts.of_issuer(ws, "https://a") == [first, second]
            assert trusts.get(ws, "github") == trusts.get(ws, first.id) == first
            assert trusts.page(ws, Window(), issuer="https://a", name="second").items == (second,)
            trusts.remove(ws, first.id)
            accounts.remove(ws, ci.id)
            assert trusts.page(ws, Window()).items == ()
            with pytest.raises(NotFound):
                trusts.get(ws, "github")
            accounts.insert(ws, ci)
            trusts.insert(ws, first)
        with pytest.raises(Conflict), db.write() as ws:
            trusts.insert(ws, self.trust(ci))

    def test_a_token_is_used_up_once_however_many_come_at_once(self, db: Database) -> None:
        def use(_: int) -> bool:
            with db.write() as ws:
                return trusts.use_up(ws, "a" * 64, later(60))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(use, range(16))) == 1
        with db.write() as ws:
            assert trusts.purge(ws, later(60)) == 1
            assert trusts.use_up(ws, "a" * 64, later(120)) is True


class TestAudit:
    def entry(self, **said: object) -> Entry:
        plain = Entry(
            id=new_id(), at=AT, action="a", object="o\x00", outcome="done", status=200, kind="owner", agent="\x00"
        )
        return replace(plain, **said)  # type: ignore[arg-type]

    def test_entries_come_back_as_they_were_written_and_keep_their_place(self, db: Database) -> None:
        made = [self.entry(account=name) for name in ("ada", "bob", "ada")]
        with db.write() as ws:
            for one in made:
                audit.insert(ws, one)
            assert audit.waiting(ws, 2) == made[:2]
            placed = chained(made, 0, GENESIS)
            audit.place(ws, placed)
            audit.place(ws, chained(made, 100, "1" * 64))  # too late: they have their places
            assert audit.count_waiting(ws) == 0
            assert audit.after(ws, 1, 10) == placed[1:]
            assert audit.page(ws, Window(), account="ada").items == (placed[2], placed[0])
            assert audit.page(ws, Window(), since=AT + timedelta(seconds=1)).items == ()
            assert audit.forget(ws, 2) == 2
            assert audit.after(ws, 0, 10) == placed[2:]

    def test_two_that_give_places_at_once_give_different_ones(self, db: Database) -> None:
        def seal(number: int) -> None:
            with db.write() as ws:
                audit.insert(ws, self.entry(account=str(number)))
            with db.write() as ws:
                head = audit.mark(ws, "head") or Mark(number=0, digest=GENESIS, signature="")
                placed = chained(audit.waiting(ws, 10), head.number, head.digest)
                audit.place(ws, placed)
                if placed:
                    last = placed[-1]
                    audit.set_mark(ws, "head", Mark(number=last.number or 0, digest=str(last.digest), signature="s"))

        with db.write() as ws:
            audit.set_mark(ws, "head", Mark(number=0, digest=GENESIS, signature="s"))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(seal, range(24)))
        with db.read() as rs:
            found = audit.after(rs, 0, 100)
            assert [one.number for one in found] == list(range(1, 25))
            assert chained(found, 0, GENESIS) == found
