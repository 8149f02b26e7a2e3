"""How a record of the model lies in a table: one column for each field, under the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Table

T = TypeVar("T")


class Record(Generic[T]):
    """The dataclass `kind` in `table`. The table may have columns besides; selecting `columns` leaves them out."""

    def __init__(self, kind: type[T], table: Table) -> None:
        self._kind = kind
        self._names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
        self.columns: tuple[Column[Any], ...] = tuple(table.c[name] for name in self._names)

    def row(self, value: T) -> dict[str, Any]:
        """The columns of `value`, for an insert."""
        return {name: getattr(value, name) for name in self._names}

    def made(self, row: Sequence[Any]) -> T:
        """The value in a row that begins with `columns`."""
        return self._kind(**dict(zip(self._names, row, strict=False)))
