"""What is said of runs besides their values, what their code notes, attempts, and what caching found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("configuration", sa.Text(), nullable=False, server_default="{}"))
        runs.add_column(sa.Column("metadata", sa.Text(), nullable=False, server_default="{}"))
        runs.add_column(sa.Column("parent_run_id", sa.String(36), nullable=True))
    with op.batch_alter_table("runs") as runs:
        runs.alter_column("configuration", server_default=None)
        runs.alter_column("metadata", server_default=None)
    op.create_index(
        "ix_runs_parent_run_id_id",
        "runs",
        ["parent_run_id", "id"],
        sqlite_where=sa.text("parent_run_id IS NOT NULL"),
        postgresql_where=sa.text("parent_run_id IS NOT NULL"),
    )
    with op.batch_alter_table("step_runs") as steps:
        steps.add_column(sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
        steps.add_column(sa.Column("cache", sa.Text(), nullable=True))
    with op.batch_alter_table("step_runs") as steps:
        steps.alter_column("attempt", server_default=None)
