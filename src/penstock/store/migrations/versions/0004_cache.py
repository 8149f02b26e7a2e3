"""Earlier results of steps are found by what they hang on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("step_runs") as steps:
        steps.add_column(sa.Column("cache_key", sa.String(64), nullable=True))
        steps.add_column(sa.Column("pipeline_id", sa.String(36), nullable=True))
    indexes = (
        ("cache_key", ["cache_key", "id"]),
        ("cache_key", ["run_id", "id"]),
        ("pipeline_id", ["pipeline_id", "name", "id"]),
    )
    for holder, columns in indexes:
        there = sa.text(f"{holder} IS NOT NULL")
        name = f"ix_step_runs_{'_'.join(columns)}"
        op.create_index(name, "step_runs", columns, sqlite_where=there, postgresql_where=there)
