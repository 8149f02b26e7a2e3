"""Idempotency keys may last until their run has ended, and know which call they were first sent by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.add_column(sa.Column("until_terminal", sa.Boolean, nullable=False, server_default=sa.false()))
        keys.add_column(sa.Column("attempt", sa.Text, nullable=True))
    with op.batch_alter_table("idempotency_keys") as keys:  # the default was for the keys that are there
        keys.alter_column("until_terminal", existing_type=sa.Boolean, server_default=None)
