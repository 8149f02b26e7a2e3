"""The first schema. There is no way back from any: to return to an older Penstock, restore a backup."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _snapshots()
    _templates()
    _runs()
    _journals()
    _accounts()


def _snapshots() -> None:
    op.create_table(
        "pipelines",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("latest_snapshot_id", sa.String(36), nullable=True),
        sa.Column("latest_runnable_id", sa.String(36), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pipelines"),
        sa.UniqueConstraint("name", name="uq_pipelines_name"),
    )
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("serial", sa.String(36), nullable=False),
        sa.Column("pipeline_id", sa.String(36), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("serial", name="uq_snapshots_serial"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_snapshots_pipeline_id"),
    )
    op.create_index("ix_snapshots_pipeline_id_serial", "snapshots", ["pipeline_id", "serial"])
    op.create_table(
        "snapshot_names",
        sa.Column("pipeline_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("pipeline_id", "name", name="pk_snapshot_names"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_snapshot_names_pipeline_id"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_snapshot_names_snapshot_id"),
    )
    op.create_index("ix_snapshot_names_name", "snapshot_names", ["name"])
    op.create_index("ix_snapshot_names_snapshot_id", "snapshot_names", ["snapshot_id"])
    op.create_table(
        "code_archives",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_code_archives"),
    )


def _templates() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("pipeline_id", sa.String(36), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sa.UniqueConstraint("name", name="uq_templates_name"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_templates_pipeline_id"),
    )
    op.create_index("ix_templates_pipeline_id_id", "templates", ["pipeline_id", "id"])
    op.create_table(
        "template_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("template_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("tag", "template_id", name="pk_template_tags"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="fk_template_tags_template_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_template_tags_template_id", "template_tags", ["template_id"])
    op.create_table(
        "template_versions",
        sa.Column("template_id", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "version", name="pk_template_versions"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_template_versions_snapshot_id"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name="fk_template_versions_template_id", ondelete="CASCADE"
        ),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("pipeline_id", sa.String(36), nullable=False),
        sa.Column("pipeline_name", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.String(36), nullable=False),
        sa.Column("template_id", sa.String(36), nullable=True),
        sa.Column("template_name", sa.Text(), nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("step_parameters", sa.Text(), nullable=False),
        sa.Column("origins", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_runs_pipeline_id"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_runs_snapshot_id"),
    )
    op.create_index("ix_runs_lease_expires", "runs", ["lease_expires"], **_where("lease_expires IS NOT NULL"))
    op.create_index("ix_runs_lease_owner", "runs", ["lease_owner"], **_where("lease_owner IS NOT NULL"))
    op.create_index("ix_runs_pipeline_id_id", "runs", ["pipeline_id", "id"])
    op.create_index("ix_runs_snapshot_id_id", "runs", ["snapshot_id", "id"])
    op.create_index("ix_runs_state_id", "runs", ["state", "id"])
    op.create_index("ix_runs_template_id_id", "runs", ["template_id", "id"], **_where("template_id IS NOT NULL"))
    op.create_index("ix_runs_template_name_id", "runs", ["template_name", "id"], **_where("template_name IS NOT NULL"))
    op.create_table(
        "run_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("tag", "run_id", name="pk_run_tags"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_tags_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_run_tags_run_id", "run_tags", ["run_id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_idempotency_keys_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_idempotency_keys_expires", "idempotency_keys", ["expires"])
    op.create_index("ix_idempotency_keys_run_id", "idempotency_keys", ["run_id"])


def _journals() -> None:
    op.create_table(
        "step_runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_step_runs"),
        sa.UniqueConstraint("run_id", "step", name="uq_step_runs_run_id_step"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_step_runs_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_step_runs_state_id", "step_runs", ["state", "id"])
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_run_events"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_events_run_id", ondelete="CASCADE"),
    )
    op.create_table(
        "log_chunks",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "last", name="pk_log_chunks"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_log_chunks_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_log_chunks_run_id_step_last", "log_chunks", ["run_id", "step", "last"])
    op.create_table(
        "artifacts",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("materializer", sa.Text(), nullable=False),
        sa.Column("code_bearing", sa.Boolean(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifacts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_artifacts_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_artifacts_run_id_id", "artifacts", ["run_id", "id"])


def _accounts() -> None:
    op.create_table(
        "stacks",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("components", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stacks"),
        sa.UniqueConstraint("name", name="uq_stacks_name"),
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("last_used", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_api_keys_account_id", ondelete="CASCADE"),
    )
    op.create_index("ix_api_keys_account_id_id", "api_keys", ["account_id", "id"])
    op.create_index("uq_api_keys_account_id_name", "api_keys", ["account_id", "name"], unique=True, **_where("active"))
    op.create_table(
        "api_key_secrets",
        sa.Column("public", sa.String(32), nullable=False),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("public", name="pk_api_key_secrets"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_api_key_secrets_key_id", ondelete="CASCADE"),
    )
    op.create_index("ix_api_key_secrets_key_id", "api_key_secrets", ["key_id"])


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
