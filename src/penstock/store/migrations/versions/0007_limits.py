"""Runs have a place in the queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("lane", sa.Text, nullable=True))
        runs.add_column(sa.Column("lane_limit", sa.Integer, nullable=True))
        runs.add_column(sa.Column("turn", sa.BigInteger, nullable=True))
        runs.add_column(sa.Column("claimed", sa.BigInteger, nullable=True))
    op.execute("UPDATE runs SET lane = COALESCE(template_id, pipeline_id), turn = created")
    op.create_index("ix_runs_state_lane_turn", "runs", ["state", "lane", "turn"])
    there = sa.text("claimed IS NOT NULL")
    op.create_index("ix_runs_lane_claimed", "runs", ["lane", "claimed"], sqlite_where=there, postgresql_where=there)
