"""Trials of what a deployment may serve next, and the deployments that serve their candidates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    with op.batch_alter_table("deployments") as deployments:
        deployments.add_column(sa.Column("companion_of", sa.String(36), nullable=True))
        deployments.add_column(sa.Column("inner_url", sa.Text, nullable=True))
    op.create_table(
        "trials",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("deployment_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("share", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("rule", sa.Text, nullable=True),
        sa.Column("comparing", sa.Text, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("companion_id", sa.String(36), nullable=False),
        sa.Column("promoted_to", sa.Integer, nullable=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger, nullable=True),
        sa.Column("figures", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.UniqueConstraint("companion_id", name="uq_trials_companion_id"),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name="fk_trials_deployment_id_deployments", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_trials_snapshot_id_snapshots"),
    )
    op.create_index("ix_trials_deployment_id_id", "trials", ["deployment_id", "id"])
    going = sa.text("ended IS NULL")
    op.create_index(
        "uq_trials_deployment_id", "trials", ["deployment_id"], unique=True, sqlite_where=going, postgresql_where=going
    )
