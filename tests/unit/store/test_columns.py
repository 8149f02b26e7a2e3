from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, create_engine, insert, select

from penstock.model.run import Failure
from penstock.store.columns import Choice, Json, Time, from_microseconds, to_microseconds

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])


class Colour(StrEnum):
    RED = "red"


TABLE = Table(
    "t",
    MetaData(),
    Column("time", Time),
    Column("anything", Json()),
    Column("failure", Json(Failure)),
    Column("colour", Choice(Colour)),
)


def there_and_back(**values: Any) -> Any:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        TABLE.create(connection)
        connection.execute(insert(TABLE).values(**values))
        row = connection.execute(select(TABLE)).one()
    engine.dispose()
    return row


@given(st.datetimes(timezones=ZONES))
def test_a_time_keeps_its_moment_to_the_microsecond(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment
    assert from_microseconds(to_microseconds(moment)).tzinfo is UTC


@given(st.lists(st.datetimes(timezones=ZONES), min_size=2, max_size=2))
def test_times_sort_as_their_numbers(moments: list[datetime]) -> None:
    first, second = moments
    assert (first < second) == (to_microseconds(first) < to_microseconds(second))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_microseconds(datetime(2026, 1, 1))


def test_values_come_back_as_what_they_were() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    failure = Failure(type="E", message="\x00\U0001f600", step="fit")
    row = there_and_back(time=moment, anything={"a": [1, None, 2.5]}, failure=failure, colour=Colour.RED)
    assert tuple(row) == (moment, {"a": [1, None, 2.5]}, failure, Colour.RED)
    assert isinstance(row.colour, Colour)


def test_none_is_null() -> None:
    assert tuple(there_and_back(time=None, anything=None, failure=None, colour=None)) == (None,) * 4


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_any_json_comes_back_equal(value: object) -> None:
    column: Json = TABLE.c.anything.type
    stored = column.process_bind_param(value, None)
    back = column.process_result_value(stored, None)
    assert back == value
    assert msgspec.json.encode(back) == msgspec.json.encode(value)


def test_what_is_no_member_is_refused() -> None:
    with pytest.raises(ValueError, match="blue"):
        TABLE.c.colour.type.process_bind_param("blue", None)
