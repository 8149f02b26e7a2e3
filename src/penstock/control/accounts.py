"""Service accounts, their API keys, and who a credential stands for."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from penstock.control import audit, credentials
from penstock.control.installation import Installation, now
from penstock.errors import Conflict, NotFound, StorageFull, Unauthenticated, Unavailable
from penstock.ids import check_name, new_id
from penstock.model.account import (
    ROLES,
    Account,
    ApiKey,
    NewApiKey,
    Permission,
    Principal,
    Role,
    check_grants,
    check_scopes,
    check_templates,
    new_key_text,
    parse_key_text,
)
from penstock.model.run import CLAIMED
from penstock.store import accounts, runs, trusts, users
from penstock.store.session import ReadSession, WriteSession
from penstock.store.users import Person

log = logging.getLogger("penstock.accounts")

Kind = Literal["service", "person"]

TOKEN_LIFETIME = 3600.0
"""Seconds for which the token of a login is valid."""

_REFUSED = "This key is not valid: it is unknown, expired or revoked."
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be otherwise with an account; None for what stays as it is."""

    role: Role | None = None
    grants: Mapping[str, Role] | None = None
    """In the place of all that it has."""

    description: str | None = None
    active: bool | None = None


@dataclass(frozen=True, kw_only=True)
class KeyWish:
    """A key to be made: how long it lasts, and how much narrower than its account it is."""

    name: str
    expires_in_days: float | None = None
    scopes: Sequence[str] | None = None
    templates: Sequence[str] | None = None


def create(
    ws: WriteSession,
    *,
    name: str,
    description: str | None = None,
    role: Role = "operator",
    grants: Mapping[str, Role] | None = None,
) -> Account:
    """A new service account. Raises `Conflict` if the name is taken, `InvalidInput` for grants that cannot be given."""
    account = Account(
        id=new_id(),
        name=check_name(name, what="service account"),
        role=role,
        grants=check_grants(grants or {}),
        description=description,
        created=now(),
    )
    accounts.insert(ws, account)
    return account


def get(rs: ReadSession, reference: str, kind: Kind = "service") -> Account:
    """The account of this kind with this id or name. Raises `NotFound`."""
    account = accounts.get(rs, reference)
    if account.kind != kind:
        raise NotFound(f"There is no account '{reference}'.")
    return account


def change(ws: WriteSession, reference: str, wanted: Change, kind: Kind = "service") -> Account:
    """Give the account another role, other grants, or another state; it holds at its next request."""
    account = get(ws, reference, kind)
    given = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    if wanted.grants is not None:
        given["grants"] = check_grants(wanted.grants)
    account = replace(account, **{name: value for name, value in given.items() if value is not None})
    accounts.save(ws, account)
    return account


def delete(ws: WriteSession, reference: str, kind: Kind = "service") -> None:
    """Remove an account with all its keys; what it triggered stays, under its name."""
    accounts.remove(ws, get(ws, reference, kind).id)


def create_key(ws: WriteSession, account: Account, wish: KeyWish) -> NewApiKey:
    """A new key for the account. Its text is in the answer and nowhere else."""
    at = now()
    expires = at + timedelta(days=wish.expires_in_days) if wish.expires_in_days is not None else None
    text = new_key_text()
    record = ApiKey(
        id=new_id(),
        account_id=account.id,
        name=check_name(wish.name, what="API key"),
        prefix=text.prefix,
        scopes=check_scopes(wish.scopes),
        templates=check_templates(wish.templates),
        created=at,
        expires=expires,
    )
    accounts.insert_key(ws, record, text)
    return NewApiKey(key=str(text), record=record)


def revoke_key(ws: WriteSession, account: Account, reference: str) -> None:
    """End a key at once."""
    accounts.revoke_key(ws, accounts.get_key(ws, account.id, reference).id)


def rotate_key(ws: WriteSession, account: Account, reference: str, *, retain_minutes: float = 0) -> NewApiKey:
    """A new text for a key; the old one stays valid for `retain_minutes`."""
    record = accounts.get_key(ws, account.id, reference)
    if not record.active:
        raise Conflict(f"API key '{record.name}' is revoked: make a new one.")
    text = new_key_text()
    at = now()
    accounts.rotate_key(ws, record.id, text, now=at, until=at + timedelta(minutes=retain_minutes))
    return NewApiKey(key=str(text), record=replace(record, prefix=text.prefix))


def log_in(installation: Installation, key: str) -> str:
    """A token of one hour in exchange for an API key."""
    principal = authenticate(installation, key)
    audit.proved(principal)
    return installation.signer.sign(
        "account", principal.account_id or "", lifetime=TOKEN_LIFETIME, key=principal.key_id
    )


def authenticate(installation: Installation, credential: str) -> Principal:
    """Who this API key or token stands for, with what they may do now. Raises `Unauthenticated`.

    A revoked key and every token made from it are refused at the next request.
    """
    if credential.startswith("psk_"):
        return _by_key(installation, credential)
    claims = installation.signer.check("account", credential)
    if "epoch" in claims:
        return _by_user_token(installation, claims)
    if "trust" in claims:
        return by_trust(installation, claims["trust"])
    try:
        with installation.db.read() as session:
            account = accounts.get(session, claims["sub"])
            key = accounts.get_key(session, account.id, str(claims.get("key")))
    except NotFound:
        raise Unauthenticated(_REFUSED) from None
    return _principal(account, key, now())


def recognised(installation: Installation, credential: str) -> Principal | None:
    """The same, where that can be told without asking the store; None: `authenticate` knows. Raises `Unauthenticated`."""
    parts = parse_key_text(credential)
    known = credentials.remembered(installation.db, parts.public) if parts is not None else None
    return _by_key(installation, credential) if known is not None and _seen(known.key, now()) else None


def user_token(installation: Installation, person: Person) -> str:
    """A token of one hour for somebody who has just proved who they are."""
    return installation.signer.sign("account", person.account.id, lifetime=TOKEN_LIFETIME, epoch=person.epoch)


def _by_user_token(installation: Installation, claims: dict[str, Any]) -> Principal:
    """The person of a token, unless their password has changed since, or they have signed out everywhere."""
    with installation.db.read() as session:
        person = users.find(session, claims["sub"], by_id=True)
    if person is None or not person.account.active or person.epoch != claims["epoch"]:
        raise Unauthenticated("This token is not valid any more: sign in again.")
    return principal_of(person.account)


def by_trust(installation: Installation, trust_id: str) -> Principal:
    """The account that tokens of another issuer stand for, while they are trusted. Raises `Unauthenticated`."""
    try:
        with installation.db.read() as session:
            account = accounts.get(session, trusts.get(session, trust_id).account_id)
    except NotFound:
        raise Unauthenticated(_REFUSED) from None
    if not account.active:
        raise Unauthenticated(_REFUSED)
    return principal_of(account, via=trust_id)


def authenticate_run(installation: Installation, token: str) -> Principal:
    """The run that holds this token; it may report for itself and read."""
    claims = installation.signer.check("run", token)
    may = frozenset({Permission.EXECUTE, Permission.READ, Permission.RUN})
    fence = claims.get("fence")
    return Principal(kind="run", name=f"run {claims['sub']}", run_id=claims["sub"], fence=fence, permissions=may)


def check_alive(installation: Installation, who: Principal) -> None:
    """Raise `Unauthenticated` unless the run goes on, under the claim that its token was made for."""
    with installation.db.read() as session:
        run = runs.find(session, str(who.run_id))
    if run is None or run.state not in CLAIMED or run.fence != who.fence:
        raise Unauthenticated("This token was for a run, which has ended or was begun anew by another process.")


def _by_key(installation: Installation, text: str) -> Principal:
    parts = parse_key_text(text)
    if parts is None:
        raise Unauthenticated("This is no API key: its form or its checksum is wrong. Was it copied whole?")
    at = now()
    found = credentials.find(installation.db, parts.public)
    # The comparison takes the same time whether or not the key is known.
    digest = found.digest if found is not None else "0" * 64
    if not hmac.compare_digest(digest, parts.digest()) or found is None or _lapsed(found.valid_until, at):
        raise Unauthenticated(_REFUSED)
    principal = _principal(found.account, found.key, at)
    if not _seen(found.key, at):
        credentials.used(installation.db, parts.public, found, at)
        _note_use(installation, found.key.id, at)
    return principal


def _seen(key: ApiKey, at: datetime) -> bool:
    """Whether it is on record that the key was used lately."""
    return key.last_used is not None and at - key.last_used <= _SEEN_EVERY


def _note_use(installation: Installation, key_id: str, at: datetime) -> None:
    """Write down that the key was used. Where there is no room for that, the key is good all the same."""
    try:
        with installation.db.write() as session:
            accounts.touch_key(session, key_id, at)
    except (StorageFull, Unavailable) as error:
        log.warning("the use of an API key is not on record: %s", error.detail)


def _principal(account: Account, key: ApiKey, at: datetime) -> Principal:
    if not account.active or not key.active or _lapsed(key.expires, at):
        raise Unauthenticated(_REFUSED)
    return principal_of(account, key)


def principal_of(account: Account, key: ApiKey | None = None, *, via: str | None = None) -> Principal:
    """Who somebody is that comes with this account, through this key or `via` this trust if it is through one."""
    return Principal(
        kind="person" if account.kind == "person" else "service",
        account_id=account.id,
        name=account.name,
        key_id=key.id if key else via,
        permissions=ROLES[account.role],
        grants={template: ROLES[role] for template, role in account.grants.items()},
        scopes=key.scopes if key else None,
        templates=key.templates if key else None,
    )


def _lapsed(until: datetime | None, at: datetime) -> bool:
    return until is not None and until <= at
