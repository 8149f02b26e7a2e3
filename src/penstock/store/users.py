"""The rows of people's passwords, of codes that are good once, and of attempts that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy import insert as into

from penstock.model.account import Account
from penstock.store.account_tables import accounts, activation_codes, attempts, passwords
from penstock.store.accounts import ACCOUNT
from penstock.store.session import ReadSession, WriteSession
from penstock.store.upsert import insert_new, upsert

_BY_NAME = (
    select(*ACCOUNT.columns, passwords.c.digest, passwords.c.epoch)
    .join(passwords, passwords.c.account_id == accounts.c.id, isouter=True)
    .where(accounts.c.kind == "person")
)
_NAMED = _BY_NAME.where(accounts.c.name == bindparam("ref"))
_WITH_ID = _BY_NAME.where(accounts.c.id == bindparam("ref"))
_COUNT = select(func.count()).select_from(accounts).where(accounts.c.kind == "person")
_SET = upsert(passwords, [passwords.c.account_id], [passwords.c.digest, passwords.c.epoch, passwords.c.changed])
_NEXT_EPOCH = (
    update(passwords).where(passwords.c.account_id == bindparam("account")).values(epoch=passwords.c.epoch + 1)
)
_INSERT_CODE = into(activation_codes)
_DROP_CODES = delete(activation_codes).where(activation_codes.c.account_id.is_not_distinct_from(bindparam("account")))
_CODE = select(activation_codes.c.account_id, activation_codes.c.expires).where(
    activation_codes.c.digest == bindparam("secret")
)
_TAKE = delete(activation_codes).where(activation_codes.c.digest == bindparam("secret"))
_DROP_OLD_CODES = delete(activation_codes).where(activation_codes.c.expires <= bindparam("now"))
_FAILURES = select(attempts.c.digest, attempts.c.failures, attempts.c.until).where(
    attempts.c.digest.in_(bindparam("digests", expanding=True)), attempts.c.until > bindparam("now")
)
_BEGIN = insert_new(attempts)
_COUNT_UP = update(attempts).where(attempts.c.digest == bindparam("ref")).values(failures=attempts.c.failures + 1)
_FORGET = delete(attempts).where(attempts.c.digest == bindparam("ref"))
_DROP_LAPSED = delete(attempts).where(attempts.c.digest == bindparam("ref"), attempts.c.until <= bindparam("now"))
_PURGE = delete(attempts).where(attempts.c.until <= bindparam("now"))


@dataclass(frozen=True, kw_only=True)
class Person:
    """An account of a person with what is kept of the password; None before there is one."""

    account: Account
    digest: str | None
    epoch: int


def find(rs: ReadSession, reference: str, *, by_id: bool = False) -> Person | None:
    """The person with this name, or this id."""
    row = rs.row(_WITH_ID if by_id else _NAMED, {"ref": reference})
    return None if row is None else Person(account=ACCOUNT.made(row), digest=row.digest, epoch=row.epoch or 0)


def count(rs: ReadSession) -> int:
    """How many people have an account."""
    return int(rs.value(_COUNT))


def set_password(ws: WriteSession, account_id: str, digest: str, epoch: int, at: datetime) -> None:
    """Keep the hash of a password in the place of the one before."""
    ws.change(_SET, {"account_id": account_id, "digest": digest, "epoch": epoch, "changed": at})


def next_epoch(ws: WriteSession, account_id: str) -> None:
    """Have all tokens refused that were made until now."""
    ws.change(_NEXT_EPOCH, {"account": account_id})


def insert_code(ws: WriteSession, digest: str, account_id: str | None, expires: datetime) -> None:
    """Keep a code in the place of all that were made for the same account, or for the first person (None)."""
    ws.change(_DROP_CODES, {"account": account_id})
    ws.change(_INSERT_CODE, {"digest": digest, "account_id": account_id, "expires": expires})


def take_code(ws: WriteSession, digest: str, now: datetime) -> tuple[bool, str | None]:
    """Use a code up: whether it was good, and for which account. Of several at once, one succeeds."""
    row = ws.row(ws.held(_CODE, activation_codes), {"secret": digest})
    taken = row is not None and ws.change(_TAKE, {"secret": digest}) == 1
    return (True, row.account_id) if taken and row is not None and row.expires > now else (False, None)


def failures(rs: ReadSession, digests: Sequence[str], now: datetime) -> dict[str, tuple[int, datetime]]:
    """How often there were failures under each of these lately, and until when that counts."""
    rows = rs.rows(_FAILURES, {"digests": list(digests), "now": now})
    return {row.digest: (row.failures, row.until) for row in rows}


def note_failure(ws: WriteSession, digest: str, now: datetime, until: datetime) -> None:
    """Count one more failure; the first one begins a time that ends at `until`."""
    ws.change(_DROP_LAPSED, {"ref": digest, "now": now})
    if ws.change(_BEGIN, {"digest": digest, "failures": 1, "until": until}) == 0:
        ws.change(_COUNT_UP, {"ref": digest})


def forget_failures(ws: WriteSession, digest: str) -> None:
    """Begin anew under this digest."""
    ws.change(_FORGET, {"ref": digest})


def purge(ws: WriteSession, now: datetime) -> int:
    """Forget failures that count no more, and codes that have expired."""
    return ws.change(_PURGE, {"now": now}) + ws.change(_DROP_OLD_CODES, {"now": now})
