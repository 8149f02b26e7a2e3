"""Idempotency keys: for how long one stands for its run, and what becomes of a request that meets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.errors import InvalidInput, fault

Policy = Literal["join", "reject", "replace"]
POLICIES: tuple[Policy, ...] = ("join", "reject", "replace")

LONGEST = 366 * 24 * 3600.0
"""Seconds for which a key may be kept."""


@dataclass(frozen=True, kw_only=True)
class IdempotencyKey:
    """A key with what is to hold for it."""

    key: str
    until: float | Literal["terminal"] | None = None
    """Seconds for which it is remembered, or `terminal`: until its run has ended. None: as long as the server says."""

    on_conflict: Policy = "join"
    """While the run of an earlier request goes on: answer with that one, refuse this one, or cancel that one and start anew."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.key) <= 255 or not self.key.isprintable():
            told = "A key has 1 to 255 printable characters."
            raise InvalidInput("This idempotency key cannot be used.", errors=[fault("/headers/Idempotency-Key", told)])
        if isinstance(self.until, float | int) and not 0 < self.until <= LONGEST:
            told = f"Write `terminal`, or a number of seconds up to {LONGEST:.0f}."
            raise InvalidInput("This is no lifetime of a key.", errors=[fault("/headers/Idempotency-Until", told)])
