"""Deployments, their revisions and keys; runs know which of them served them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("served_by", sa.String(36), nullable=True))
    there = sa.text("served_by IS NOT NULL")
    op.create_index("ix_runs_served_by_id", "runs", ["served_by", "id"], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pipeline_id", sa.String(36), nullable=False),
        sa.Column("pipeline_name", sa.Text, nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("wanted", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("url", sa.Text, nullable=True),
        sa.Column("deployer", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("auth", sa.Boolean, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("applied", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sa.UniqueConstraint("name", name="uq_deployments_name"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_deployments_pipeline_id_pipelines"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_deployments_snapshot_id_snapshots"),
    )
    op.create_table(
        "deployment_revisions",
        sa.Column("deployment_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("deployment_id", "number", name="pk_deployment_revisions"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name="fk_deployment_revisions_deployment_id_deployments",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name="fk_deployment_revisions_snapshot_id_snapshots"
        ),
    )
    op.create_table(
        "deployment_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("deployment_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("valid_until", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deployment_keys"),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name="fk_deployment_keys_deployment_id_deployments",
            ondelete="CASCADE",
        ),
    )
    valid = sa.text("valid_until IS NULL")
    op.create_index(
        "uq_deployment_keys_deployment_id_name",
        "deployment_keys",
        ["deployment_id", "name"],
        unique=True,
        sqlite_where=valid,
        postgresql_where=valid,
    )
