"""Run templates have terms, and aliases that are moved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # The defaults are for the templates that are there; new ones always say it.
    with op.batch_alter_table("templates") as templates:
        templates.add_column(sa.Column("terms", sa.Text, nullable=False, server_default="{}"))
        templates.add_column(sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    with op.batch_alter_table("templates") as templates:
        templates.alter_column("terms", existing_type=sa.Text, server_default=None)
        templates.alter_column("revision", existing_type=sa.Integer, server_default=None)

    def of_template() -> sa.Column[str]:
        return sa.Column("template_id", sa.String(36), nullable=False)

    def to_template(table: str) -> sa.ForeignKeyConstraint:
        return sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=f"fk_{table}_template_id", ondelete="CASCADE"
        )

    op.create_table(
        "template_aliases",
        of_template(),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("template_id", "alias", name="pk_template_aliases"),
        to_template("template_aliases"),
    )
    op.create_table(
        "template_alias_moves",
        of_template(),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("note", sa.Text),
        sa.PrimaryKeyConstraint("template_id", "alias", "number", name="pk_template_alias_moves"),
        to_template("template_alias_moves"),
    )
