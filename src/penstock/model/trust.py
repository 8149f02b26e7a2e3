"""Trust in tokens that others have signed: whose, for whom, under which conditions, and which account they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from penstock.errors import InvalidInput, fault, pointer

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures whose keys can be public. None that both sides share, and not none at all."""

LONGEST = 24 * 3600
_RESERVED = ("iss", "aud", "exp", "iat", "nbf", "jti")
_MOST = 20


@dataclass(frozen=True, kw_only=True)
class Trust:
    """A token of `issuer`, made for `audience`, that meets all the conditions, stands for the account."""

    id: str
    name: str
    issuer: str
    audience: str
    account_id: str
    conditions: dict[str, str]
    """Claim -> what it has to be; `*` stands for any characters."""

    max_lifetime: int = 3600
    """Seconds between `iat` and `exp`, at most."""

    single_use: bool = False
    """Each token is exchanged once (`jti`), and good for nothing else."""

    created: datetime

    def meets(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claims of a token that is genuine are those that are asked for."""
        audiences = claims.get("aud")
        for_us = self.audience in audiences if isinstance(audiences, list) else audiences == self.audience
        return for_us and all(matches(pattern, claims.get(name)) for name, pattern in self.conditions.items())


def matches(pattern: str, value: Any) -> bool:
    """Whether a claim is what the pattern says: of a list, one of its items. What is no text, number or truth is nothing."""
    if isinstance(value, list):
        return any(matches(pattern, one) for one in value if not isinstance(one, list))
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int):
        return False
    regex = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(regex, str(value), re.DOTALL) is not None


def check_audience(audience: str) -> str:
    """For whom tokens are made. Raises `InvalidInput`."""
    if not audience.isprintable() or not audience:
        raise InvalidInput("This is no audience.", errors=[fault("/audience", "Give printable characters.")])
    return audience


def check_issuer(issuer: str) -> str:
    """The URL of an issuer: https, or on this very machine. Raises `InvalidInput`."""
    if not is_safe(issuer):
        mistake = fault("/issuer", "Give its URL as the tokens have it: https://..., or http:// on this machine.")
        raise InvalidInput("This issuer cannot be trusted.", errors=[mistake])
    return issuer


def is_safe(url: str, *, of: str | None = None) -> bool:
    """Whether keys may be fetched from there: over TLS, or from this machine, if the issuer `of` is there too."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if (
        not url.isprintable()
        or parts.username is not None
        or parts.password is not None
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        return False
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if of is not None and local and not is_local(of):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and local)


def is_local(url: str) -> bool:
    """Whether it is on this machine."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def check_conditions(conditions: Mapping[str, str]) -> dict[str, str]:
    """What tokens have to say. Raises `InvalidInput` with every mistake; nothing said would let everybody in."""
    faults = []
    if not 0 < len(conditions) <= _MOST:
        faults.append(
            fault("/conditions", f"Name from 1 to {_MOST} claims: an issuer makes tokens for everybody it knows.")
        )
    for name, pattern in conditions.items():
        if name in _RESERVED:
            faults.append(fault(pointer("conditions", name), "This claim is checked by itself; name another one."))
        elif not pattern.strip("*") or len(pattern) > 1000:
            faults.append(fault(pointer("conditions", name), "Say what the claim has to be; `*` alone is anything."))
    if faults:
        raise InvalidInput("These conditions are not enough, or too much.", errors=faults)
    return dict(conditions)
