"""Accounts, API keys and what they may do."""

from __future__ import annotations

import binascii
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from penstock.ids import digest_of

KEY_PREFIX = "psk"
_KEY = re.compile(KEY_PREFIX + r"_([0-9A-Za-z]{16})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Permission(StrEnum):
    """Verb x noun. Every route names one of these."""

    READ = "read"
    """See pipelines, snapshots, templates, runs, artifacts, logs, stacks."""

    RUN = "run"
    """Trigger and cancel runs."""

    WRITE = "write"
    """Freeze snapshots, publish templates."""

    MANAGE = "manage"
    """Service accounts and their keys; the server itself."""

    EXECUTE = "execute"
    """Report for a run: held by launchers and by the run itself, never by an account's key."""


Role = Literal["viewer", "operator", "editor", "admin"]

ROLES: dict[str, frozenset[Permission]] = {
    "viewer": frozenset({Permission.READ}),
    "operator": frozenset({Permission.READ, Permission.RUN}),
    "editor": frozenset({Permission.READ, Permission.RUN, Permission.WRITE}),
    "admin": frozenset({Permission.READ, Permission.RUN, Permission.WRITE, Permission.MANAGE}),
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """A person or a service account."""

    id: str
    name: str
    kind: Literal["service", "owner"] = "service"
    role: Role = "operator"
    description: str | None = None
    active: bool = True
    created: datetime


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """The record of a key. The secret itself is shown once, at creation, and only its hash is kept."""

    id: str
    account_id: str
    name: str
    active: bool = True
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class NewApiKey:
    """A key just made: its record, and the only sight of its text."""

    key: str
    record: ApiKey


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who is asking: an account through one of its keys or tokens, the owner of this home, or a run."""

    kind: Literal["owner", "service", "run"]
    account_id: str | None = None
    name: str = "owner"
    key_id: str | None = None
    run_id: str | None = None
    permissions: frozenset[Permission] = frozenset()

    @property
    def scope(self) -> str:
        """What idempotency keys are counted within: one account, or the owner."""
        return self.account_id or self.kind


OWNER = Principal(kind="owner", permissions=frozenset(Permission))


@dataclass(frozen=True, kw_only=True)
class KeyText:
    """The parts of a key's text: `psk_<16: id>_<32: secret, 190 bits><6: CRC-32>`."""

    public: str
    secret: str

    def __str__(self) -> str:
        return f"{KEY_PREFIX}_{self.public}_{self.secret}{_checksum(self.public + self.secret)}"

    def digest(self) -> str:
        """What is stored. A slow hash adds nothing at 190 bits of randomness."""
        return digest_of(self.secret.encode())


def new_key_text() -> KeyText:
    """A fresh random key."""
    return KeyText(public=_random(16), secret=_random(32))


def parse_key_text(text: str) -> KeyText | None:
    """The parts of `text` if it has the form and the checksum of a key; no look-up is needed to refuse a typing error."""
    match = _KEY.fullmatch(text)
    if match is None or _checksum(match[1] + match[2]) != match[3]:
        return None
    return KeyText(public=match[1], secret=match[2])


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    value, digits = binascii.crc32(text.encode()), ""
    for _ in range(6):
        value, rest = divmod(value, 62)
        digits = _ALPHABET[rest] + digits
    return digits
