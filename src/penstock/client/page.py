"""One page of a list, as the server sends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

LARGEST_PAGE = 200
"""The most items that a server puts on a page."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """The items of this page, in order; iterating does not fetch further pages.

    `next` is the `cursor` of the page after this one, None on the last. `total` counts all pages, where the server did.
    """

    items: tuple[T, ...]
    total: int | None = None
    page: int | None = None
    size: int | None = None
    next: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)
