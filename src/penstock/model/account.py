"""Accounts, API keys and what they may do."""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from penstock.errors import InvalidInput, fault, pointer
from penstock.ids import check_name, digest_of

KEY_PREFIX = "psk"
_KEY = re.compile(KEY_PREFIX + r"_([0-9A-Za-z]{16})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Permission(StrEnum):
    """The verb of a permission; its noun is the one that an address is under. Every route names one of these."""

    READ = "read"
    """See pipelines, snapshots, templates, runs, artifacts, logs, stacks."""

    RUN = "run"
    """Trigger and cancel runs."""

    WRITE = "write"
    """Freeze snapshots, publish templates."""

    MANAGE = "manage"
    """Service accounts and their keys; the server itself."""

    SELF = "self"
    """One's own account: its password, its sessions, its keys."""

    EXECUTE = "execute"
    """Report for a run: held by launchers and by the run itself, never by an account's key."""


Role = Literal["none", "viewer", "operator", "editor", "admin"]

ROLES: dict[str, frozenset[Permission]] = {
    "none": frozenset({Permission.SELF}),
    "viewer": frozenset({Permission.SELF, Permission.READ}),
    "operator": frozenset({Permission.SELF, Permission.READ, Permission.RUN}),
    "editor": frozenset({Permission.SELF, Permission.READ, Permission.RUN, Permission.WRITE}),
    "admin": frozenset({Permission.SELF, Permission.READ, Permission.RUN, Permission.WRITE, Permission.MANAGE}),
}

NOUNS = (
    "artifacts",
    "audit",
    "callbacks",
    "code",
    "decisions",
    "deployments",
    "devices",
    "info",
    "launchers",
    "me",
    "metrics",
    "pipeline_snapshots",
    "pipelines",
    "run_templates",
    "runs",
    "server",
    "service_accounts",
    "sessions",
    "stacks",
    "step_runs",
    "trusts",
    "users",
)
"""What permissions are about: the first part of an address below `/api/v1`."""

GRANTABLE = ("viewer", "operator", "editor")
"""Roles that can be given on a single run template; administration is never about one."""

_MOST = 200


@dataclass(frozen=True, kw_only=True)
class Account:
    """A person or a service account: what it may do everywhere (`role`), and on single run templates (`grants`)."""

    id: str
    name: str
    kind: Literal["service", "person", "owner"] = "service"
    role: Role = "operator"
    grants: dict[str, Role] = field(default_factory=dict)
    """Name of a run template -> the role that the account has there, whatever its role is elsewhere."""

    description: str | None = None
    active: bool = True
    created: datetime


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """The record of a key. The secret itself is shown once, at creation, and only its hash is kept.

    A key may do what its account may do then; `scopes` and `templates` make that less, never more.
    """

    id: str
    account_id: str
    name: str
    prefix: str | None = None
    """How its text begins: enough to tell which key a leaked one is, and to refuse it, not to use it."""

    scopes: tuple[str, ...] | None = None
    """`verb` or `verb:noun`. None: no narrower than the account."""

    templates: tuple[str, ...] | None = None
    """Names of the run templates that it is good for. None: no narrower than the account."""

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

    kind: Literal["owner", "service", "person", "run", "deployment"]
    account_id: str | None = None
    name: str = "owner"
    key_id: str | None = None
    run_id: str | None = None
    fence: int | None = None
    """Of a run: the claim that its token was made for."""

    deployment_id: str | None = None
    permissions: frozenset[Permission] = frozenset()
    """On everything; `grants` come to it for single templates, `scopes` and `templates` take from both."""

    grants: dict[str, frozenset[Permission]] = field(default_factory=dict)
    scopes: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    within: frozenset[str] | None = None
    """Set for one request: the templates to whose objects it is confined. None: to nothing."""

    @property
    def scope(self) -> str:
        """What idempotency keys are counted within: one account, or the owner."""
        return self.account_id or self.kind

    def reach(self, permission: Permission, noun: str) -> frozenset[str] | None:
        """The names of the templates on whose objects it has the permission; None if that is everything there is."""
        if self.scopes is not None and not {permission.value, f"{permission}:{noun}"} & set(self.scopes):
            return frozenset()
        narrowed = None if self.templates is None else frozenset(self.templates)
        if permission in self.permissions:
            return narrowed
        granted = frozenset(name for name, verbs in self.grants.items() if permission in verbs)
        return granted if narrowed is None else granted & narrowed


def check_scopes(scopes: Iterable[str] | None) -> tuple[str, ...] | None:
    """The scopes of a key, each a `verb` or a `verb:noun`. Raises `InvalidInput` with every one that means nothing."""
    if scopes is None:
        return None
    given = tuple(dict.fromkeys(scopes))
    verbs = [verb.value for verb in Permission if verb is not Permission.EXECUTE]
    known = [*verbs, *(f"{verb}:{noun}" for verb in verbs for noun in NOUNS)]
    faults = [
        fault(pointer("scopes", place), "This is no scope.", allowed=known, given=scope)
        for place, scope in enumerate(given)
        if scope not in known
    ]
    if not given:
        faults = [fault("/scopes", "Name at least one, or leave it out.", allowed=verbs)]
    if faults:
        raise InvalidInput("These scopes mean nothing.", errors=faults)
    return given


def check_templates(names: Iterable[str] | None) -> tuple[str, ...] | None:
    """The names of the templates that a key is good for. Whether there are such is another matter. Raises `InvalidInput`."""
    if names is None:
        return None
    given = tuple(dict.fromkeys(names))
    if not 0 < len(given) <= _MOST:
        raise InvalidInput(
            "A key is good for everything, or for some templates.",
            errors=[fault("/templates", f"Name from 1 to {_MOST} run templates, or leave it out.")],
        )
    return tuple(check_name(name, what="run template", at=pointer("templates", at)) for at, name in enumerate(given))


def check_grants(grants: Mapping[str, Role]) -> dict[str, Role]:
    """Roles on single templates. Raises `InvalidInput` with every mistake."""
    if len(grants) > _MOST:
        raise InvalidInput("Too many grants.", errors=[fault("/grants", f"At most {_MOST}; give a role instead.")])
    faults = [
        fault(pointer("grants", name), "This role cannot be given on a template.", allowed=GRANTABLE, given=role)
        for name, role in grants.items()
        if role not in GRANTABLE
    ]
    if faults:
        raise InvalidInput("These grants cannot be given.", errors=faults)
    return {check_name(name, what="run template", at=pointer("grants", name)): role for name, role in grants.items()}


OWNER = Principal(kind="owner", permissions=frozenset(Permission))


@dataclass(frozen=True, kw_only=True)
class KeyText:
    """The parts of a key's text: `psk_<16: id>_<32: secret, 190 bits><6: CRC-32>`."""

    public: str
    secret: str

    def __str__(self) -> str:
        return f"{KEY_PREFIX}_{self.public}_{self.secret}{_checksum(self.public + self.secret)}"

    @property
    def prefix(self) -> str:
        """What may be shown: it tells keys apart, and opens nothing."""
        return f"{KEY_PREFIX}_{self.public}"

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
