"""Artifacts have names, versions, tags and notes, outlive their runs, and are known wherever they are used."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.add_column(sa.Column("name", sa.Text(), nullable=True))
        artifacts.add_column(sa.Column("version", sa.Text(), nullable=True))
        artifacts.add_column(sa.Column("tags", sa.Text(), nullable=False, server_default="[]"))
        artifacts.add_column(sa.Column("user_metadata", sa.Text(), nullable=False, server_default="{}"))
        artifacts.add_column(sa.Column("number", sa.Integer(), nullable=True))
        artifacts.create_unique_constraint("uq_artifacts_name_version", ["name", "version"])
        artifacts.drop_constraint("fk_artifacts_run_id", type_="foreignkey")
        artifacts.create_foreign_key("fk_artifacts_run_id", "runs", ["run_id"], ["id"], ondelete="SET NULL")
    with op.batch_alter_table("artifacts") as artifacts:
        artifacts.alter_column("tags", server_default=None)
        artifacts.alter_column("user_metadata", server_default=None)
    op.create_index("uq_artifacts_name_number", "artifacts", ["name", "number"], unique=True)
    op.create_index("ix_artifacts_name_id", "artifacts", ["name", "id"])
    op.create_table(
        "artifact_uses",
        sa.Column("artifact_id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name="fk_artifact_uses_artifact_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_artifact_uses_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("artifact_id", "run_id", "step", "kind", "name", name="pk_artifact_uses"),
    )
    op.create_index("ix_artifact_uses_run_id_step", "artifact_uses", ["run_id", "step"])
    _note_uses()


def _note_uses() -> None:
    """Fill in what was used before anybody wrote it down: otherwise it would look like something that can go."""
    op.execute(
        "INSERT INTO artifact_uses (artifact_id, run_id, step, kind, name) "
        "SELECT id, run_id, COALESCE(step, ''), 'output', COALESCE(output, '') FROM artifacts WHERE run_id IS NOT NULL"
    )
    connection = op.get_bind()
    insert = sa.text(
        "INSERT INTO artifact_uses (artifact_id, run_id, step, kind, name) "
        "SELECT id, :run_id, :step, 'input', :name FROM artifacts WHERE id = :artifact_id"
    )
    for run_id, step, inputs in connection.execute(sa.text("SELECT run_id, step, inputs FROM step_runs")).all():
        for name, artifact_id in json.loads(inputs).items():
            row = {"run_id": run_id, "step": step, "name": name, "artifact_id": artifact_id}
            connection.execute(insert, row)
