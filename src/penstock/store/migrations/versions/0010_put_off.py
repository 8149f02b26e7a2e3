"""Runs may be put off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("ready", sa.BigInteger, nullable=True))
        runs.add_column(sa.Column("held_since", sa.BigInteger, nullable=True))
    there = sa.text("ready IS NOT NULL")
    op.create_index("ix_runs_ready", "runs", ["ready"], sqlite_where=there, postgresql_where=there)
