"""The tables of accounts, of what lets them in, and of who did what. A change here needs a migration, as in `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, PrimaryKeyConstraint, String, Table, Text

from penstock.store.parts import document as _json
from penstock.store.parts import identity as _id
from penstock.store.parts import metadata
from penstock.store.parts import moment as _time
from penstock.store.parts import of as _of
from penstock.store.parts import where as _where

_Names = tuple[str, ...]

accounts = Table(
    "accounts",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("role", String(16), nullable=False),
    _json("grants", dict[str, str]),
    _json("description", str, nullable=True),
    Column("active", Boolean, nullable=False),
    _time("created"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(primary_key=True),
    _of("accounts", "account_id", ondelete="CASCADE"),
    Column("name", Text, nullable=False),
    Column("prefix", String(32)),
    _json("scopes", _Names, nullable=True),
    _json("templates", _Names, nullable=True),
    Column("active", Boolean, nullable=False),
    _time("created"),
    _time("expires", nullable=True),
    _time("last_used", nullable=True),
    # A revoked key stays on record and gives its name free.
    Index("uq_api_keys_account_id_name", "account_id", "name", unique=True, **_where("active")),
    Index(None, "account_id", "id"),
)

# A key has one secret; while it is rotated, two, of which the old one is good until `valid_until`.
api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("public", String(32), primary_key=True),
    _of("api_keys", "key_id", ondelete="CASCADE"),
    Column("digest", String(64), nullable=False),
    _time("valid_until", nullable=True),
    Index(None, "key_id"),
)

# A person who has not activated their account has none. Tokens of an earlier epoch are refused.
passwords = Table(
    "passwords",
    metadata,
    _of("accounts", "account_id", ondelete="CASCADE"),
    Column("digest", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    _time("changed"),
    PrimaryKeyConstraint("account_id"),
)

# Codes that are good once: for the first person (no account), or for somebody's first or next password.
activation_codes = Table(
    "activation_codes",
    metadata,
    Column("digest", String(64), primary_key=True),
    _of("accounts", "account_id", nullable=True, ondelete="CASCADE"),
    _time("expires"),
    Index(None, "account_id"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    _of("accounts", "account_id", ondelete="CASCADE"),
    _json("address", str, nullable=True),
    _json("agent", str, nullable=True),
    _time("created"),
    _time("seen"),
    _time("expires"),
    Index(None, "account_id", "id"),
    Index(None, "expires"),
)

# Failed attempts at a password, under the digest of what they have in common.
attempts = Table(
    "attempts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    _time("until"),
    Index(None, "until"),
)

devices = Table(
    "devices",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_code", String(16), nullable=False, unique=True),
    _json("client", str),
    Column("address", Text),
    _time("created"),
    _time("expires"),
    _time("polled", nullable=True),
    Column("interval", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    _of("accounts", "account_id", nullable=True, ondelete="CASCADE"),
    Index(None, "expires"),
)

trusts = Table(
    "trusts",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("issuer", Text, nullable=False),
    Column("audience", Text, nullable=False),
    _of("accounts", "account_id", ondelete="CASCADE"),
    _json("conditions", dict[str, str]),
    Column("max_lifetime", Integer, nullable=False),
    Column("single_use", Boolean, nullable=False),
    _time("created"),
    Index(None, "issuer", "id"),
)

trust_uses = Table(
    "trust_uses",
    metadata,
    Column("digest", String(64), primary_key=True),
    _time("expires"),
    Index(None, "expires"),
)

# No foreign keys either. `number`, `previous` and `digest` come once, when the entry gets its place in the chain.
audit_entries = Table(
    "audit_entries",
    metadata,
    _id(primary_key=True),
    _time("at"),
    Column("action", Text, nullable=False),
    _json("object", str),
    Column("outcome", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("problem", Text),
    Column("kind", String(16), nullable=False),
    Column("account", Text),
    Column("account_id", String(36)),
    Column("key_id", String(36)),
    Column("address", Text),
    _json("agent", str, nullable=True),
    Column("request_id", Text),
    Column("number", BigInteger, unique=True),
    Column("previous", String(64)),
    Column("digest", String(64)),
    Index(None, "action", "id"),
    Index(None, "account", "id"),
    Index("ix_audit_entries_waiting", "id", **_where("number IS NULL")),
)

audit_marks = Table(
    "audit_marks",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("signature", String(64), nullable=False),
)
