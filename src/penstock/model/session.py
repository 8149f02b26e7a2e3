"""Sessions: a person in a browser."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from penstock.ids import digest_of


@dataclass(frozen=True, kw_only=True)
class Session:
    """One sign-in from one browser. The secret is in its cookie alone, and only its hash is kept."""

    id: str
    account_id: str
    address: str | None = None
    agent: str | None = None
    created: datetime
    seen: datetime
    expires: datetime


@dataclass(frozen=True, kw_only=True)
class NewSession:
    """A session just begun, with the only sight of its secret."""

    secret: str
    record: Session


def new_secret() -> str:
    """What goes into a cookie, or is a code that is good once."""
    return secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """What is kept of it. A slow hash adds nothing at 256 bits of randomness."""
    return digest_of(secret.encode())


def csrf_token(secret: str) -> str:
    """What a page has to send besides the cookie: only one that has seen an answer of ours can know it."""
    return hashlib.sha256(b"csrf:" + secret.encode()).hexdigest()
