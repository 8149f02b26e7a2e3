"""Those who are to be told of a run's end, and how the secret of the signatures was rotated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("problem", sa.Text),
        sa.Column("next_try", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("tried", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_callbacks"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_callbacks_run_id", ondelete="CASCADE"),
        sa.UniqueConstraint("run_id", "url", name="uq_callbacks_run_id_url"),
    )
    op.create_index("ix_callbacks_state_id", "callbacks", ["state", "id"])
    for column in ("next_try", "ended"):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_callbacks_{column}", "callbacks", [column], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "callback_rotations",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("previous_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_callback_rotations"),
    )
