"""People have accounts: what lets them in, which other issuers are trusted, and who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    _people()
    _audit()
    _trusts()
    _devices()


def _people() -> None:
    def of_account(table: str) -> sa.ForeignKeyConstraint:
        name = f"fk_{table}_account_id"
        return sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=name, ondelete="CASCADE")

    op.create_table(
        "passwords",
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_passwords"),
        of_account("passwords"),
    )
    op.create_table(
        "activation_codes",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(36)),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_activation_codes"),
        of_account("activation_codes"),
    )
    op.create_index("ix_activation_codes_account_id", "activation_codes", ["account_id"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
        of_account("sessions"),
    )
    op.create_index("ix_sessions_account_id_id", "sessions", ["account_id", "id"])
    op.create_index("ix_sessions_expires", "sessions", ["expires"])
    op.create_table(
        "attempts",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_attempts"),
    )
    op.create_index("ix_attempts_until", "attempts", ["until"])


def _audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("account", sa.Text),
        sa.Column("account_id", sa.String(36)),
        sa.Column("key_id", sa.String(36)),
        sa.Column("address", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("number", sa.BigInteger),
        sa.Column("previous", sa.String(64)),
        sa.Column("digest", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
        sa.UniqueConstraint("number", name="uq_audit_entries_number"),
    )
    op.create_index("ix_audit_entries_action_id", "audit_entries", ["action", "id"])
    op.create_index("ix_audit_entries_account_id", "audit_entries", ["account", "id"])
    there = sa.text("number IS NULL")
    op.create_index("ix_audit_entries_waiting", "audit_entries", ["id"], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "audit_marks",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("signature", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_audit_marks"),
    )


def _trusts() -> None:
    op.create_table(
        "trusts",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("conditions", sa.Text, nullable=False),
        sa.Column("max_lifetime", sa.Integer, nullable=False),
        sa.Column("single_use", sa.Boolean, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trusts"),
        sa.UniqueConstraint("name", name="uq_trusts_name"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_trusts_account_id", ondelete="CASCADE"),
    )
    op.create_index("ix_trusts_issuer_id", "trusts", ["issuer", "id"])
    op.create_table(
        "trust_uses",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_trust_uses"),
    )
    op.create_index("ix_trust_uses_expires", "trust_uses", ["expires"])


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_code", sa.String(16), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("polled", sa.BigInteger),
        sa.Column("interval", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(36)),
        sa.PrimaryKeyConstraint("digest", name="pk_devices"),
        sa.UniqueConstraint("user_code", name="uq_devices_user_code"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_devices_account_id", ondelete="CASCADE"),
    )
    op.create_index("ix_devices_expires", "devices", ["expires"])
