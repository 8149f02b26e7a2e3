"""INSERT ... ON CONFLICT as SQLite and PostgreSQL both write it; SQLAlchemy has one for each, none for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Insert, Table, insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import SyntaxExtension
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.sql.visitors import InternalTraversal


class _OnConflict(SyntaxExtension, ClauseElement):
    """`ON CONFLICT (key) DO UPDATE` of the columns `changes`, or `DO NOTHING` if there are none."""

    _traverse_internals = [  # noqa: RUF012  (SQLAlchemy reads it to cache the statement)
        ("key", InternalTraversal.dp_string_list),
        ("changes", InternalTraversal.dp_string_list),
    ]

    def __init__(self, key: list[str], changes: list[str]) -> None:
        self.key = key
        self.changes = changes

    def apply_to_insert(self, insert_stmt: Insert) -> None:
        insert_stmt.apply_syntax_extension_point(self.append_replacing_same_type, "post_values")


@compiles(_OnConflict)
def _render(clause: _OnConflict, compiler: SQLCompiler, **_options: Any) -> str:
    quote = compiler.preparer.quote
    key = ", ".join(map(quote, clause.key))
    if not clause.changes:
        return f"ON CONFLICT ({key}) DO NOTHING"
    changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in clause.changes)
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes}"


def insert_new(table: Table) -> Insert:
    """An insert that leaves a row with the same primary key alone, and does not count it as written."""
    return upsert(table, list(table.primary_key), [])


def upsert(table: Table, key: Sequence[Column[Any]], changes: Sequence[Column[Any]]) -> Insert:
    """An insert that, where a row with the same `key` (unique columns) is there already, writes `changes` into it.

    With no `changes` it leaves such a row alone, and does not count it as written.
    """
    clause = _OnConflict([column.name for column in key], [column.name for column in changes])
    return insert(table).ext(clause)
