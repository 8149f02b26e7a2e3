"""The version of the schema that this code works with, and the way there. Alembic is loaded only to go it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from penstock.errors import PenstockError
from penstock.store import account_tables, deployment_tables, tables
from penstock.store.parts import metadata

HEAD = "0017"
"""Revision of the newest migration; a test holds it against the scripts."""

PAGES = (tables, account_tables, deployment_tables)
"""Where the tables are defined: all of them, by being imported here."""

MIGRATIONS = Path(__file__).parent / "migrations"


_ALONE = 0x70656E73746F636B  # "penstock"


def wait_alone(connection: Connection, patience: float) -> None:
    """On PostgreSQL: have no other migration go on until the end of the transaction, which may take so many seconds."""
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = '{patience:.0f}s'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ALONE})


def check_references(connection: Connection, where: str) -> None:
    """On SQLite, where references are not kept while tables are rebuilt: raise `PenstockError` if one leads nowhere."""
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise PenstockError(f"The migration of {where} would leave rows of '{broken[0]}' without what they refer to.")


def upgrade(connection: Connection, where: str) -> None:
    """Bring the database behind `connection` to `HEAD` inside the transaction that the caller began and will commit.

    Raises `PenstockError`, having changed nothing, if the database is at a revision that this code does not know.
    """
    if inspect(connection).get_table_names():
        migrate(connection, where)
    else:
        create(connection)


def create(connection: Connection) -> None:
    """Fill an empty database straight from the tables: what the migrations make one after another (a test compares)."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def known() -> set[str]:
    """The revisions that this code knows the way from."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}


def migrate(connection: Connection, where: str, *, to: str = HEAD) -> None:
    """Go from whatever revision the database has, or none, to another, script by script. Raises like `upgrade`."""
    # Importing Alembic takes a quarter of a second, and most starts find the schema in place.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known():
        raise PenstockError(
            f"The database {where} has schema {current}; this Penstock knows no further than {HEAD}. It was last used by "
            "a newer Penstock: install that version again, or use another home directory. Nothing was changed."
        )
    command.upgrade(config, to)
