"""The column types that the tables share: times, JSON documents and states, alike on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Dialect, String, Text
from sqlalchemy.types import TypeDecorator

from penstock.model.wire import reader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_encoder = msgspec.json.Encoder()


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC. A time without a zone is a mistake of the caller: `ValueError`."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: times in the store are aware.")
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """The aware UTC time that `to_microseconds` made `count` of."""
    return EPOCH + timedelta(microseconds=count)


class Time(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970: sorts as a number, and no database has its own idea of zones."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


class Json(TypeDecorator[Any]):
    """A value of `kind` (anything msgspec can decode) as JSON text. None is NULL.

    Text, not a JSON type of the database: those normalise numbers, sort keys or refuse an escaped NUL, and what users
    give must come back equal. Free text is kept this way too: it may hold a NUL, which PostgreSQL's text refuses.
    """

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any = Any) -> None:
        super().__init__()
        self.kind = kind
        self._read = reader(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _encoder.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self._read(value)


class Choice(TypeDecorator[StrEnum]):
    """A member of the enumeration `kind`, by its value."""

    impl = String(16)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.kind(value)
