from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Integer, MetaData, Table

from penstock.store.records import Record


@dataclass(frozen=True, kw_only=True)
class Point:
    x: int
    y: int = 0


TABLE = Table("points", MetaData(), Column("y", Integer), Column("secret", Integer), Column("x", Integer))


def test_columns_follow_the_fields_whatever_else_is_in_the_table() -> None:
    record = Record(Point, TABLE)
    assert record.columns == (TABLE.c.x, TABLE.c.y)
    assert record.row(Point(x=1, y=2)) == {"x": 1, "y": 2}


def test_what_follows_the_fields_in_a_row_is_left_out() -> None:
    assert Record(Point, TABLE).made((1, 2, "page key")) == Point(x=1, y=2)
