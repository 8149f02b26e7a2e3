"""What the tables are made of: their common columns, and the names of their keys and indexes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, MetaData, String, text

from penstock.store.columns import Json, Time

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def identity(name: str = "id", **options: Any) -> Column[str]:
    """An id."""
    return Column(name, String(36), nullable=False, **options)


def of(target: str, name: str, *, nullable: bool = False, ondelete: str | None = None) -> Column[str]:
    """The id of a row of another table."""
    return Column(name, String(36), ForeignKey(f"{target}.id", ondelete=ondelete), nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> Column[Any]:
    """A time."""
    return Column(name, Time, nullable=nullable)


def document(name: str, kind: Any, *, nullable: bool = False) -> Column[Any]:
    """A JSON document of this kind; also free text, which may hold what a database refuses."""
    return Column(name, Json(kind), nullable=nullable)


def where(condition: str) -> dict[str, Any]:
    """Options of an index that holds only some rows; both databases have such indexes, each under its own keyword."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
