"""Lists in pages: which part of a list is wanted, and the part that came."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Row, Select, func, literal, select

from penstock.errors import InvalidInput, fault, pointer
from penstock.ids import is_id
from penstock.store.session import ReadSession

LARGEST = 200
"""No page has more items than this."""

COUNTED = 1_000
"""A list is counted up to here. To count a million rows takes longer than to find the page that is wanted."""

_DEEPEST = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which part of a list: what follows a `cursor`, or the page with a number; newest first unless told otherwise.

    A cursor stays right while items are added, and costs the same at any depth. Raises `InvalidInput`.
    """

    size: int = 20
    cursor: str | None = None
    page: int = 1
    oldest_first: bool = False

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.size <= LARGEST:
            faults.append(fault(pointer("size"), f"A page has from 1 to {LARGEST} items, not {self.size}."))
        if not 1 <= self.page <= _DEEPEST:
            faults.append(fault(pointer("page"), f"Pages are numbered from 1 to {_DEEPEST}, not {self.page}."))
        if self.cursor is not None and self.page != 1:
            faults.append(fault(pointer("page"), "Give a cursor or a page number, not both."))
        if self.cursor is not None and _opened(self.cursor) is None:
            faults.append(fault(pointer("cursor"), "This is no cursor: use the `next` of an earlier page."))
        if faults:
            raise InvalidInput("This part of the list cannot be given.", errors=faults)

    @property
    def after(self) -> str | None:
        """The key of the last item before this part, from the cursor."""
        return None if self.cursor is None else _opened(self.cursor)


@dataclass(frozen=True, kw_only=True)
class Slice(Generic[T]):
    """One page: its items, how many there are on all pages, and the cursor of the next one (None on the last).

    `total` is None if there are more than `COUNTED`.
    """

    items: tuple[T, ...]
    total: int | None
    next: str | None


def cut(
    rs: ReadSession, statement: Select[Any], key: Column[str], window: Window, make: Callable[[Row[Any]], T]
) -> Slice[T]:
    """The rows of `statement` inside `window`, each through `make`. `key`, a column of ids, gives the order."""
    counted = statement.with_only_columns(literal(1), maintain_column_froms=True).limit(COUNTED + 1).subquery("counted")
    total = rs.value(select(func.count()).select_from(counted))
    ordered = statement.order_by(key if window.oldest_first else key.desc()).limit(window.size + 1)
    if window.after is not None:
        ordered = ordered.where(key > window.after if window.oldest_first else key < window.after)
    elif window.page > 1:
        ordered = ordered.offset((window.page - 1) * window.size)
    rows = rs.rows(ordered.add_columns(key.label("page_key")))
    kept = rows[: window.size]
    return Slice(
        items=tuple(make(row) for row in kept),
        total=total if total <= COUNTED else None,
        next=_sealed(kept[-1].page_key) if len(rows) > window.size else None,
    )


def _sealed(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _opened(cursor: str) -> str | None:
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return None
    return key if is_id(key) else None
