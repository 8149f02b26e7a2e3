"""What became of each attempt to start a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("template", sa.Text),
        sa.Column("run_id", sa.String(36)),
        sa.Column("run_name", sa.Text),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(36)),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("pointers", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
    )
    for column in ("verdict", "account"):
        op.create_index(f"ix_decisions_{column}_id", "decisions", [column, "id"])
    for column in ("template", "run_id"):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_decisions_{column}_id", "decisions", [column, "id"], sqlite_where=there, postgresql_where=there
        )
