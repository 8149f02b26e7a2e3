"""Who comes with a token that somebody else has signed: a CI job, say, that holds no secret of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from penstock.control import accounts, audit
from penstock.control.accounts import TOKEN_LIFETIME
from penstock.control.installation import Installation, now
from penstock.errors import InvalidInput, Unauthenticated, fault
from penstock.ids import check_name, digest_of, new_id
from penstock.model.account import Principal
from penstock.model.trust import ALGORITHMS, LONGEST, Trust, check_audience, check_conditions, check_issuer
from penstock.store import trusts
from penstock.store.session import WriteSession

LEEWAY = 30.0
"""Seconds by which the clocks of an issuer and of this server may differ."""

_LARGEST = 16 * 1024
_REFUSED = "This token is not one that is trusted here."


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A trust to be made; `account` is the name or id of a service account, the rest is as in `Trust`."""

    name: str
    issuer: str
    audience: str
    account: str
    conditions: Mapping[str, str]
    max_lifetime: int = 3600
    single_use: bool = False


def create(ws: WriteSession, wish: Wish) -> Trust:
    """Trust in tokens from now on. Raises `InvalidInput` with what is wrong, `NotFound` for an unknown service account."""
    if not 1 <= wish.max_lifetime <= LONGEST:
        mistake = fault("/max_lifetime", f"From 1 to {LONGEST} seconds.")
        raise InvalidInput("Tokens do not last that long.", errors=[mistake])
    trust = Trust(
        id=new_id(),
        name=check_name(wish.name, what="trust"),
        issuer=check_issuer(wish.issuer),
        audience=check_audience(wish.audience),
        account_id=accounts.get(ws, wish.account).id,
        conditions=check_conditions(wish.conditions),
        max_lifetime=wish.max_lifetime,
        single_use=wish.single_use,
        created=now(),
    )
    trusts.insert(ws, trust)
    return trust


def is_foreign(credential: str) -> bool:
    """Whether this is a signed token that somebody else has made, by its own word."""
    try:
        claims = jwt.decode(credential, options={"verify_signature": False})
    except jwt.PyJWTError:
        return False
    return "iss" in claims and claims["iss"] != "penstock"


def authenticate(installation: Installation, token: str) -> Principal:
    """The account that a token of another issuer stands for. Raises `Unauthenticated`."""
    trust, _ = _trusted(installation, token)
    if trust.single_use:
        raise Unauthenticated("Such a token is exchanged first: POST /api/v1/login with it as subject_token.")
    return accounts.by_trust(installation, trust.id)


def log_in(installation: Installation, token: str) -> str:
    """A token of ours, of one hour, in exchange for one of another issuer."""
    trust, claims = _trusted(installation, token)
    principal = accounts.by_trust(installation, trust.id)
    audit.proved(principal)
    if trust.single_use:
        used = digest_of(f"{trust.issuer}\0{claims['jti']}".encode())
        until = datetime.fromtimestamp(claims["exp"] + LEEWAY, UTC)
        with installation.db.write() as session:
            if not trusts.use_up(session, used, until):
                raise Unauthenticated("This token was used before: each is good once.")
    return installation.signer.sign("account", trust.account_id, lifetime=TOKEN_LIFETIME, trust=trust.id)


def _trusted(installation: Installation, token: str) -> tuple[Trust, dict[str, Any]]:
    """The trust that a token comes under, and what the token says. Nobody is asked for keys who is not trusted."""
    if len(token) > _LARGEST:
        raise Unauthenticated(_REFUSED)
    try:
        header = jwt.get_unverified_header(token)
        issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
    except jwt.PyJWTError:
        raise Unauthenticated(_REFUSED) from None
    algorithm = header.get("alg")
    with installation.db.read() as session:
        candidates = trusts.of_issuer(session, issuer)
    if not candidates or algorithm not in ALGORITHMS:
        raise Unauthenticated(_REFUSED)
    key = installation.issuers.key(issuer, header.get("kid"), algorithm)
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=sorted({one.audience for one in candidates}),
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud"]},
        )
    except jwt.PyJWTError as error:
        raise Unauthenticated(f"{_REFUSED} {error}.") from None
    for trust in candidates:
        lifetime = claims["exp"] - claims["iat"]
        if trust.meets(claims) and lifetime <= trust.max_lifetime and ("jti" in claims or not trust.single_use):
            return trust, claims
    raise Unauthenticated("This token is genuine, and meets the conditions of no trust here.")
