"""Accounts have roles on single templates, and keys may be narrower than their account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    # The default is for the accounts that are there: what they may do stays as it is.
    with op.batch_alter_table("accounts") as accounts:
        accounts.add_column(sa.Column("grants", sa.Text, nullable=False, server_default="{}"))
    with op.batch_alter_table("accounts") as accounts:
        accounts.alter_column("grants", existing_type=sa.Text, server_default=None)
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("prefix", sa.String(32)))
        keys.add_column(sa.Column("scopes", sa.Text))
        keys.add_column(sa.Column("templates", sa.Text))
    op.execute(
        "UPDATE api_keys SET prefix = (SELECT 'psk_' || max(public) FROM api_key_secrets "
        "WHERE key_id = api_keys.id AND valid_until IS NULL)"
    )
