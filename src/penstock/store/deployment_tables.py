"""The tables of deployments; all others are in `tables`. A change here needs a migration."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from penstock.model.deployment import DeploymentState
from penstock.model.deployment_settings import DeploymentSettings
from penstock.model.likeness import Comparing
from penstock.model.stack import Component
from penstock.model.trial import Figures, Rule, TrialState
from penstock.store.columns import Choice, Json, Time
from penstock.store.parts import metadata

deployments = Table(
    "deployments",
    metadata,
    Column("id", String(36), primary_key=True, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("pipeline_id", String(36), ForeignKey("pipelines.id"), nullable=False),
    Column("pipeline_name", Text, nullable=False),
    Column("snapshot_id", String(36), ForeignKey("snapshots.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("wanted", String(16), nullable=False),
    Column("state", Choice(DeploymentState), nullable=False),
    Column("reason", Json(str), nullable=True),
    Column("url", Text),
    Column("inner_url", Text),
    Column("deployer", Json(Component), nullable=False),
    Column("settings", Json(DeploymentSettings), nullable=False),
    Column("auth", Boolean, nullable=False),
    Column("tags", Json(tuple[str, ...]), nullable=False),
    # No foreign key: it is taken down after the deployment that it belonged to.
    Column("companion_of", String(36), nullable=True),
    Column("created", Time, nullable=False),
    Column("updated", Time, nullable=False),
    # Up to which change its deployer has been told.
    Column("applied", Time, nullable=True),
)

deployment_revisions = Table(
    "deployment_revisions",
    metadata,
    Column("deployment_id", String(36), ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("snapshot_id", String(36), ForeignKey("snapshots.id"), nullable=False),
    Column("settings", Json(DeploymentSettings), nullable=False),
    Column("created", Time, nullable=False),
    Column("note", Text),
    PrimaryKeyConstraint("deployment_id", "number"),
)

deployment_keys = Table(
    "deployment_keys",
    metadata,
    Column("id", String(36), primary_key=True, nullable=False),
    Column("deployment_id", String(36), ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", Time, nullable=False),
    Column("valid_until", Time, nullable=True),
    # A key that was rotated out holds for a while beside the one that has its name now.
    Index(
        "uq_deployment_keys_deployment_id_name",
        "deployment_id",
        "name",
        unique=True,
        sqlite_where=text("valid_until IS NULL"),
        postgresql_where=text("valid_until IS NULL"),
    ),
)

trials = Table(
    "trials",
    metadata,
    Column("id", String(36), primary_key=True, nullable=False),
    Column("deployment_id", String(36), ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("snapshot_id", String(36), ForeignKey("snapshots.id"), nullable=False),
    Column("settings", Json(DeploymentSettings), nullable=False),
    Column("share", Json(float), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("rule", Json(Rule), nullable=True),
    Column("comparing", Json(Comparing), nullable=True),
    Column("state", Choice(TrialState), nullable=False),
    Column("reason", Json(str), nullable=True),
    Column("companion_id", String(36), nullable=False, unique=True),
    Column("promoted_to", Integer, nullable=True),
    Column("created", Time, nullable=False),
    Column("updated", Time, nullable=False),
    Column("ended", Time, nullable=True),
    Column("figures", Json(Figures), nullable=False),
    Index(None, "deployment_id", "id"),
    # One at a time.
    Index(
        "uq_trials_deployment_id",
        "deployment_id",
        unique=True,
        sqlite_where=text("ended IS NULL"),
        postgresql_where=text("ended IS NULL"),
    ),
)
