"""The tables, but for those of `account_tables`. A change here needs a migration; a test holds the two against each other."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from penstock.model.artifact import File
from penstock.model.cache import CacheNote
from penstock.model.callback import CallbackState
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.decision import Verdict
from penstock.model.run import Cause, Failure, RunState, StepState
from penstock.model.snapshot import Content
from penstock.model.stack import Component
from penstock.model.terms import Terms
from penstock.store.columns import Choice
from penstock.store.parts import document as _json
from penstock.store.parts import identity as _id
from penstock.store.parts import metadata
from penstock.store.parts import moment as _time
from penstock.store.parts import of as _of
from penstock.store.parts import where as _where

_Names = tuple[str, ...]
_Values = dict[str, Any]


def _run() -> Column[str]:
    return _of("runs", "run_id", ondelete="CASCADE")


pipelines = Table(
    "pipelines",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # What was frozen last, and last with its code. No foreign keys: snapshots refer to pipelines already.
    Column("latest_snapshot_id", String(36)),
    Column("latest_runnable_id", String(36)),
    _time("created"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _id(primary_key=True),
    # The id is a digest and says nothing about time; this one is a time-ordered id, for listing.
    _id("serial", unique=True),
    _of("pipelines", "pipeline_id"),
    _json("content", Content),
    _time("created"),
    Index(None, "pipeline_id", "serial"),
)

snapshot_names = Table(
    "snapshot_names",
    metadata,
    _of("pipelines", "pipeline_id"),
    Column("name", Text, nullable=False),
    _of("snapshots", "snapshot_id"),
    PrimaryKeyConstraint("pipeline_id", "name"),
    Index(None, "snapshot_id"),
    Index(None, "name"),
)

code_archives = Table(
    "code_archives",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    _time("created"),
)

templates = Table(
    "templates",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _json("description", str, nullable=True),
    _json("tags", _Names),
    _of("pipelines", "pipeline_id"),
    _time("created"),
    _json("terms", Terms),
    Column("revision", Integer, nullable=False),
    Index(None, "pipeline_id", "id"),
)

template_tags = Table(
    "template_tags",
    metadata,
    Column("tag", Text, nullable=False),
    _of("templates", "template_id", ondelete="CASCADE"),
    PrimaryKeyConstraint("tag", "template_id"),
    Index(None, "template_id"),
)

template_versions = Table(
    "template_versions",
    metadata,
    _of("templates", "template_id", ondelete="CASCADE"),
    Column("version", Integer, nullable=False),
    _of("snapshots", "snapshot_id"),
    _time("created"),
    PrimaryKeyConstraint("template_id", "version"),
)

template_aliases = Table(
    "template_aliases",
    metadata,
    _of("templates", "template_id", ondelete="CASCADE"),
    Column("alias", Text, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("template_id", "alias"),
)

template_alias_moves = Table(
    "template_alias_moves",
    metadata,
    _of("templates", "template_id", ondelete="CASCADE"),
    Column("alias", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("version", Integer),
    _time("at"),
    Column("account", Text, nullable=False),
    _json("note", str, nullable=True),
    PrimaryKeyConstraint("template_id", "alias", "number"),
)

runs = Table(
    "runs",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Choice(RunState), nullable=False),
    _json("reason", str, nullable=True),
    _of("pipelines", "pipeline_id"),
    Column("pipeline_name", Text, nullable=False),
    _of("snapshots", "snapshot_id"),
    # No foreign key: a run outlives its template.
    Column("template_id", String(36)),
    Column("template_name", Text),
    Column("template_version", Integer),
    _json("parameters", _Values),
    _json("step_parameters", dict[str, _Values]),
    _json("origins", dict[str, str]),
    _json("configuration", PipelineRunConfiguration),
    _json("metadata", _Values),
    _json("cause", Cause),
    _json("tags", _Names),
    _json("outputs", _Values, nullable=True),
    _json("error", Failure, nullable=True),
    Column("fence", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("lease_owner", Text),
    _time("lease_expires", nullable=True),
    _time("created"),
    _time("started", nullable=True),
    _time("ended", nullable=True),
    # Of the cause, to be searched by: the run of whose step this one was started.
    Column("parent_run_id", String(36)),
    # And the name of the account behind it.
    Column("account", Text),
    # The deployment whose request it was. No foreign key: a run outlives it.
    Column("served_by", String(36)),
    # Its place in the queue: what it shares a limit with, that limit, what the waiting are ordered by, the last claim.
    Column("lane", Text),
    Column("lane_limit", Integer),
    _time("turn", nullable=True),
    _time("claimed", nullable=True),
    # Not before this time: a run that a limit has put off, and since when it and those that it outdid have been.
    _time("ready", nullable=True),
    _time("held_since", nullable=True),
    Index(None, "ready", **_where("ready IS NOT NULL")),
    Index(None, "state", "lane", "turn"),
    Index(None, "lane", "claimed", **_where("claimed IS NOT NULL")),
    # Ids are time-ordered: each of these gives the oldest or the newest run of its kind without sorting.
    Index(None, "state", "id"),
    Index(None, "pipeline_id", "id"),
    Index(None, "snapshot_id", "id"),
    Index(None, "template_id", "id", **_where("template_id IS NOT NULL")),
    Index(None, "template_name", "id", **_where("template_name IS NOT NULL")),
    Index(None, "parent_run_id", "id", **_where("parent_run_id IS NOT NULL")),
    Index(None, "account", "id", **_where("account IS NOT NULL")),
    # Of those that go on or wait: what an account has taken of its limits.
    Index(None, "account", "state", **_where("ended IS NULL")),
    Index(None, "served_by", "id", **_where("served_by IS NOT NULL")),
    Index(None, "lease_expires", **_where("lease_expires IS NOT NULL")),
    Index(None, "lease_owner", **_where("lease_owner IS NOT NULL")),
)

run_tags = Table(
    "run_tags",
    metadata,
    Column("tag", Text, nullable=False),
    _run(),
    PrimaryKeyConstraint("tag", "run_id"),
    Index(None, "run_id"),
)

# The words of names that somebody chose.
run_words = Table(
    "run_words",
    metadata,
    Column("word", Text, nullable=False),
    _run(),
    PrimaryKeyConstraint("word", "run_id"),
    Index(None, "run_id"),
)

step_runs = Table(
    "step_runs",
    metadata,
    _id(primary_key=True),
    _run(),
    Column("step", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Choice(StepState), nullable=False),
    Column("attempt", Integer, nullable=False),
    _json("reason", str, nullable=True),
    _json("upstream", _Names),
    _json("parameters", _Values),
    _json("inputs", dict[str, str]),
    _json("outputs", dict[str, str]),
    _json("error", Failure, nullable=True),
    _json("cache", CacheNote, nullable=True),
    _json("metadata", _Values),
    _time("created"),
    _time("started", nullable=True),
    _time("ended", nullable=True),
    # Of those that ended well and were carried out with a cache: what they are looked for by.
    Column("cache_key", String(64)),
    Column("pipeline_id", String(36)),
    UniqueConstraint("run_id", "step"),
    Index(None, "state", "id"),
    Index(None, "cache_key", "id", **_where("cache_key IS NOT NULL")),
    Index(None, "run_id", "id", **_where("cache_key IS NOT NULL")),
    Index(None, "pipeline_id", "name", "id", **_where("pipeline_id IS NOT NULL")),
)

run_events = Table(
    "run_events",
    metadata,
    _run(),
    Column("number", BigInteger, nullable=False),
    _time("at"),
    Column("type", Text, nullable=False),
    Column("step", Text),
    _json("data", _Values),
    PrimaryKeyConstraint("run_id", "number"),
)

# One row for each step in a batch of lines. Lines are numbered through the run; `first` and `last` are the numbers of
# the row's own first and last line, and rows of one batch may interleave.
log_chunks = Table(
    "log_chunks",
    metadata,
    _run(),
    Column("last", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("step", Text),
    _json("lines", list[tuple[int, int, str, str]]),  # number - first, microseconds, stream, text
    PrimaryKeyConstraint("run_id", "last"),
    Index(None, "run_id", "step", "last"),
)

artifacts = Table(
    "artifacts",
    metadata,
    _id(primary_key=True),
    Column("digest", String(64), nullable=False),
    _json("files", tuple[File, ...]),
    Column("size", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("materializer", Text, nullable=False),
    Column("code_bearing", Boolean, nullable=False),
    _json("metadata", _Values),
    Column("name", Text),
    Column("version", Text),
    _json("tags", _Names),
    _json("user_metadata", _Values),
    # An artifact outlives its run as long as somebody uses it.
    _of("runs", "run_id", nullable=True, ondelete="SET NULL"),
    Column("step", Text),
    Column("output", Text),
    _time("created"),
    # The latest version of a name is the one with the highest number, whatever it is called.
    Column("number", Integer),
    UniqueConstraint("name", "version"),
    Index("uq_artifacts_name_number", "name", "number", unique=True),
    Index(None, "name", "id"),
    Index(None, "run_id", "id"),
)

artifact_uses = Table(
    "artifact_uses",
    metadata,
    _of("artifacts", "artifact_id", ondelete="CASCADE"),
    _run(),
    Column("step", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("artifact_id", "run_id", "step", "kind", "name"),
    Index(None, "run_id", "step"),
)

stacks = Table(
    "stacks",
    metadata,
    _id(primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _json("components", dict[str, Component]),
    _time("created"),
)

# No foreign keys: what was decided stays on record when its run or its account is gone.
decisions = Table(
    "decisions",
    metadata,
    _id(primary_key=True),
    _time("at"),
    Column("verdict", Choice(Verdict), nullable=False),
    _json("target", str),
    _json("template", str, nullable=True),
    Column("run_id", String(36)),
    Column("run_name", Text),
    Column("kind", String(16), nullable=False),
    Column("account", Text, nullable=False),
    Column("key_id", String(36)),
    Column("idempotency_key", Text),
    Column("status", Integer, nullable=False),
    Column("problem", Text),
    _json("detail", str, nullable=True),
    _json("pointers", _Names),
    Index(None, "verdict", "id"),
    Index(None, "account", "id"),
    Index(None, "template", "id", **_where("template IS NOT NULL")),
    Index(None, "run_id", "id", **_where("run_id IS NOT NULL")),
)

duties = Table(
    "duties",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", Text, nullable=False),
    _time("expires"),
)

callbacks = Table(
    "callbacks",
    metadata,
    _id(primary_key=True),
    _run(),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("state", Choice(CallbackState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    _json("problem", str, nullable=True),
    _time("next_try", nullable=True),
    _time("created"),
    _time("tried", nullable=True),
    _time("ended", nullable=True),
    UniqueConstraint("run_id", "url"),
    Index(None, "state", "id"),
    Index(None, "next_try", **_where("next_try IS NOT NULL")),
    Index(None, "ended", **_where("ended IS NOT NULL")),
)

# The secret itself is nowhere: it is worked out from that of the installation and the id of the last rotation.
callback_rotations = Table(
    "callback_rotations",
    metadata,
    _id(primary_key=True),
    _time("created"),
    _time("previous_until", nullable=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    _run(),
    Column("status", Integer, nullable=False),
    _time("created"),
    _time("expires"),
    Column("until_terminal", Boolean, nullable=False),
    Column("attempt", Text),
    PrimaryKeyConstraint("scope", "key"),
    Index(None, "run_id"),
    Index(None, "expires"),
)
