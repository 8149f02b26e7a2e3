from __future__ import annotations

import pytest
from sqlalchemy import Column, Dialect, Integer, MetaData, Table
from sqlalchemy.dialects import postgresql, sqlite

from penstock.store.upsert import insert_new, upsert

TABLE = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("order", Integer), Column("b", Integer))
DIALECTS = pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])


@DIALECTS
def test_a_known_row_can_be_left_alone(dialect: Dialect) -> None:
    assert str(insert_new(TABLE).compile(dialect=dialect)).endswith("ON CONFLICT (id) DO NOTHING")


@DIALECTS
def test_a_known_row_can_be_written_anew(dialect: Dialect) -> None:
    text = str(upsert(TABLE, [TABLE.c.order, TABLE.c.id], [TABLE.c.order, TABLE.c.b]).compile(dialect=dialect))
    assert text.endswith('ON CONFLICT ("order", id) DO UPDATE SET "order" = excluded."order", b = excluded.b')


def test_statements_that_differ_are_not_taken_for_one_another() -> None:
    statements = [insert_new(TABLE), upsert(TABLE, [TABLE.c.b], []), upsert(TABLE, [TABLE.c.b], [TABLE.c.order])]
    keys = [statement._generate_cache_key().key for statement in statements]
    assert len(set(keys)) == 3
    assert insert_new(TABLE)._generate_cache_key().key == keys[0]
