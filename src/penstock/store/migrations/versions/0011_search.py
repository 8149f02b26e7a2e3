"""Runs are found by who has them started, and by the words of names that somebody chose."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# What `model/words.py` meant by a word when this was written.
_WORD = re.compile(r"[^\W_]+")


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("account", sa.Text, nullable=True))
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        op.execute("UPDATE runs SET account = json_extract(cause, '$.account')")
    else:
        op.execute("UPDATE runs SET account = cause::json ->> 'account'")
    there, live = sa.text("account IS NOT NULL"), sa.text("ended IS NULL")
    op.create_index("ix_runs_account_id", "runs", ["account", "id"], sqlite_where=there, postgresql_where=there)
    op.create_index("ix_runs_account_state", "runs", ["account", "state"], sqlite_where=live, postgresql_where=live)
    words = op.create_table(
        "run_words",
        sa.Column("word", sa.Text, nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_words_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("word", "run_id", name="pk_run_words"),
    )
    op.create_index("ix_run_words_run_id", "run_words", ["run_id"])
    for run_id, name in connection.execute(sa.text("SELECT id, name FROM runs")).all():
        if not name.endswith(run_id[-8:]):  # as the names do that are made up
            found = dict.fromkeys(_WORD.findall(name.casefold()))
            op.bulk_insert(words, [{"word": word, "run_id": run_id} for word in found])
