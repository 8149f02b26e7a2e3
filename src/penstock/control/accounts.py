"""Service accounts, their API keys, and who a credential stands for."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

from penstock.control.installation import Installation, now
from penstock.errors import Conflict, NotFound, Unauthenticated
from penstock.ids import check_name, new_id
from penstock.model.account import (
    ROLES,
    Account,
    ApiKey,
    NewApiKey,
    Permission,
    Principal,
    Role,
    new_key_text,
    parse_key_text,
)
from penstock.store import accounts
from penstock.store.session import ReadSession, WriteSession

TOKEN_LIFETIME = 3600.0
"""Seconds for which the token of a login is valid."""

_REFUSED = "This key is not valid: it is unknown, expired or revoked."
_SEEN_EVERY = timedelta(minutes=1)


def create(ws: WriteSession, *, name: str, description: str | None = None, role: Role = "operator") -> Account:
    """A new service account. Raises `Conflict` if the name is taken."""
    account = Account(
        id=new_id(), name=check_name(name, what="service account"), role=role, description=description, created=now()
    )
    accounts.insert(ws, account)
    return account


def delete(ws: WriteSession, reference: str) -> None:
    """Remove an account with all its keys; what it triggered stays, under its name."""
    accounts.remove(ws, accounts.get(ws, reference).id)


def create_key(
    ws: WriteSession, account_reference: str, *, name: str, expires_in_days: float | None = None
) -> NewApiKey:
    """A new key for the account. Its text is in the answer and nowhere else."""
    account = accounts.get(ws, account_reference)
    at = now()
    expires = at + timedelta(days=expires_in_days) if expires_in_days is not None else None
    text = new_key_text()
    record = ApiKey(
        id=new_id(), account_id=account.id, name=check_name(name, what="API key"), created=at, expires=expires
    )
    accounts.insert_key(ws, record, text)
    return NewApiKey(key=str(text), record=record)


def get_key(rs: ReadSession, account_reference: str, reference: str) -> ApiKey:
    """The key of this account with this id or name."""
    return accounts.get_key(rs, accounts.get(rs, account_reference).id, reference)


def revoke_key(ws: WriteSession, account_reference: str, reference: str) -> None:
    """End a key at once."""
    accounts.revoke_key(ws, get_key(ws, account_reference, reference).id)


def rotate_key(ws: WriteSession, account_reference: str, reference: str, *, retain_minutes: float = 0) -> NewApiKey:
    """A new text for a key; the old one stays valid for `retain_minutes`."""
    record = get_key(ws, account_reference, reference)
    if not record.active:
        raise Conflict(f"API key '{record.name}' is revoked: make a new one.")
    text = new_key_text()
    at = now()
    accounts.rotate_key(ws, record.id, text, now=at, until=at + timedelta(minutes=retain_minutes))
    return NewApiKey(key=str(text), record=record)


def log_in(installation: Installation, key: str) -> str:
    """A token of one hour in exchange for an API key."""
    principal = authenticate(installation, key)
    return installation.signer.sign(
        "account", principal.account_id or "", lifetime=TOKEN_LIFETIME, key=principal.key_id
    )


def authenticate(installation: Installation, credential: str) -> Principal:
    """Who this API key or token stands for, with what they may do now. Raises `Unauthenticated`.

    Nothing is cached: a revoked key and every token made from it are refused at the next request.
    """
    if credential.startswith("psk_"):
        return _by_key(installation, credential)
    claims = installation.signer.check("account", credential)
    try:
        with installation.db.read() as session:
            account = accounts.get(session, claims["sub"])
            key = accounts.get_key(session, account.id, str(claims.get("key")))
    except NotFound:
        raise Unauthenticated(_REFUSED) from None
    return _principal(account, key, now())


def authenticate_run(installation: Installation, token: str) -> Principal:
    """The run that holds this token; it may report for itself and read."""
    claims = installation.signer.check("run", token)
    may = frozenset({Permission.EXECUTE, Permission.READ, Permission.RUN})
    return Principal(kind="run", name=f"run {claims['sub']}", run_id=claims["sub"], permissions=may)


def _by_key(installation: Installation, text: str) -> Principal:
    parts = parse_key_text(text)
    if parts is None:
        raise Unauthenticated("This is no API key: its form or its checksum is wrong. Was it copied whole?")
    at = now()
    with installation.db.read() as session:
        found = accounts.credential(session, parts.public)
    # The comparison takes the same time whether or not the key is known.
    digest = found.digest if found is not None else "0" * 64
    if not hmac.compare_digest(digest, parts.digest()) or found is None or _lapsed(found.valid_until, at):
        raise Unauthenticated(_REFUSED)
    principal = _principal(found.account, found.key, at)
    if found.key.last_used is None or at - found.key.last_used > _SEEN_EVERY:
        with installation.db.write() as session:
            accounts.touch_key(session, found.key.id, at)
    return principal


def _principal(account: Account, key: ApiKey, at: datetime) -> Principal:
    if not account.active or not key.active or _lapsed(key.expires, at):
        raise Unauthenticated(_REFUSED)
    return Principal(
        kind="service", account_id=account.id, name=account.name, key_id=key.id, permissions=ROLES[account.role]
    )


def _lapsed(until: datetime | None, at: datetime) -> bool:
    return until is not None and until <= at
