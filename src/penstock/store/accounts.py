"""The rows of accounts, of their API keys, and of the keys' secrets (their hashes)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.account import Account, ApiKey, KeyText
from penstock.store.account_tables import accounts, api_key_secrets, api_keys
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession

ACCOUNT = Record(Account, accounts)
_KEY = Record(ApiKey, api_keys)

_INSERT = into(accounts)
_ACCOUNTS = select(*ACCOUNT.columns)
_BY_ID = _ACCOUNTS.where(accounts.c.id == bindparam("ref"))
_BY_NAME = _ACCOUNTS.where(accounts.c.name == bindparam("ref"))
_DELETE = delete(accounts).where(accounts.c.id == bindparam("id"))

_SAVE = update(accounts).where(accounts.c.id == bindparam("ref"))

_INSERT_KEY = into(api_keys)
_INSERT_SECRET = into(api_key_secrets)
_KEYS = select(*_KEY.columns).where(api_keys.c.account_id == bindparam("account"))
_KEY_BY_ID = _KEYS.where(api_keys.c.id == bindparam("ref"))
# A revoked key may have had the same name: the one in force comes first, else the newest.
_KEY_BY_NAME = _KEYS.where(api_keys.c.name == bindparam("ref")).order_by(api_keys.c.active.desc(), api_keys.c.id.desc())
_REVOKE = update(api_keys).where(api_keys.c.id == bindparam("key"), api_keys.c.active).values(active=False)
_DROP_SECRETS = delete(api_key_secrets).where(api_key_secrets.c.key_id == bindparam("key"))
_RETIRE = (
    update(api_key_secrets)
    .where(api_key_secrets.c.key_id == bindparam("key"), api_key_secrets.c.valid_until.is_(None))
    .values(valid_until=bindparam("until"))
)
_DROP_RETIRED = delete(api_key_secrets).where(
    api_key_secrets.c.key_id == bindparam("key"), api_key_secrets.c.valid_until <= bindparam("now")
)
_SHOW = update(api_keys).where(api_keys.c.id == bindparam("key")).values(prefix=bindparam("shown"))
_TOUCH = update(api_keys).where(api_keys.c.id == bindparam("key")).values(last_used=bindparam("at"))
_CREDENTIAL = (
    select(*ACCOUNT.columns, *_KEY.columns, api_key_secrets.c.digest, api_key_secrets.c.valid_until)
    .select_from(api_key_secrets)
    .join(api_keys, api_keys.c.id == api_key_secrets.c.key_id)
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(api_key_secrets.c.public == bindparam("public"))
)


CREDENTIALS = "credentials"
"""What is outdated by whatever may put a key out of force or change what it is good for."""


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A secret as stored, with the key and the account that it is of. Whether it is good is for the caller to see."""

    account: Account
    key: ApiKey
    digest: str
    valid_until: datetime | None
    """When a secret that was rotated out stops working; None for the one in force."""


def insert(ws: WriteSession, account: Account) -> None:
    """Keep a new account. Raises `Conflict` if its name is used."""
    ws.change(_INSERT, ACCOUNT.row(account), taken=f"There is already an account named '{account.name}'.")


def get(rs: ReadSession, ref: str) -> Account:
    """The account with this id or name. Raises `NotFound`."""
    return ACCOUNT.made(found(rs.row(_BY_ID if is_id(ref) else _BY_NAME, {"ref": ref}), "account", ref))


def page(rs: ReadSession, window: Window, *, name: str | None = None, kind: str | None = None) -> Slice[Account]:
    """Accounts, newest first: with this name, of this kind."""
    statement = _ACCOUNTS
    if name is not None:
        statement = statement.where(accounts.c.name == name)
    if kind is not None:
        statement = statement.where(accounts.c.kind == kind)
    return cut(rs, statement, accounts.c.id, window, ACCOUNT.made)


def save(ws: WriteSession, account: Account) -> None:
    """Write what may change of an account: role, grants, description, state."""
    values = {name: getattr(account, name) for name in ("role", "grants", "description", "active")}
    ws.change(_SAVE, {"ref": account.id, **values})
    ws.outdate(CREDENTIALS)


def remove(ws: WriteSession, account_id: str) -> bool:
    """Remove the account with all its keys; whether it was there."""
    ws.outdate(CREDENTIALS)
    return ws.change(_DELETE, {"id": account_id}) == 1


def insert_key(ws: WriteSession, key: ApiKey, text: KeyText) -> None:
    """Keep a new key and the hash of its secret. Raises `Conflict` if the account has a key in force of this name."""
    ws.change(_INSERT_KEY, _KEY.row(key), taken=f"This account has already a key named '{key.name}'.")
    ws.change(_INSERT_SECRET, _secret_row(key.id, text))


def get_key(rs: ReadSession, account_id: str, ref: str) -> ApiKey:
    """The account's key with this id or name. Raises `NotFound`."""
    row = rs.row(_KEY_BY_ID if is_id(ref) else _KEY_BY_NAME, {"account": account_id, "ref": ref})
    return _KEY.made(found(row, "API key of this account", ref))


def page_keys(rs: ReadSession, account_id: str, window: Window) -> Slice[ApiKey]:
    """The account's keys, newest first, revoked ones too."""
    return cut(rs, select(*_KEY.columns).where(api_keys.c.account_id == account_id), api_keys.c.id, window, _KEY.made)


def rotate_key(ws: WriteSession, key_id: str, text: KeyText, *, now: datetime, until: datetime) -> None:
    """Give the key a new secret; the one before works `until` then, and those that stopped working are forgotten."""
    ws.change(_RETIRE, {"key": key_id, "until": until})
    ws.change(_DROP_RETIRED, {"key": key_id, "now": now})
    ws.change(_INSERT_SECRET, _secret_row(key_id, text))
    ws.change(_SHOW, {"key": key_id, "shown": text.prefix})
    ws.outdate(CREDENTIALS)


def revoke_key(ws: WriteSession, key_id: str) -> bool:
    """Put the key and all its secrets out of force for good; whether it was in force."""
    ws.outdate(CREDENTIALS)
    ws.change(_DROP_SECRETS, {"key": key_id})
    return ws.change(_REVOKE, {"key": key_id}) == 1


def touch_key(ws: WriteSession, key_id: str, at: datetime) -> None:
    """Note when the key was last used."""
    ws.change(_TOUCH, {"key": key_id, "at": at})


def credential(rs: ReadSession, public: str) -> Credential | None:
    """What there is under the public part of a key's text."""
    row = rs.row(_CREDENTIAL, {"public": public})
    if row is None:
        return None
    return Credential(
        account=ACCOUNT.made(row),
        key=_KEY.made(row[len(ACCOUNT.columns) :]),
        digest=row.digest,
        valid_until=row.valid_until,
    )


def _secret_row(key_id: str, text: KeyText) -> dict[str, Any]:
    return {"public": text.public, "key_id": key_id, "digest": text.digest(), "valid_until": None}
