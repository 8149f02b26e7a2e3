"""Idempotency keys: for how long one stands for its run, and what becomes of a request that meets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from penstock.errors import InvalidInput, fault

Policy = Literal["join", "reject", "replace"]
POLICIES: tuple[Policy, ...] = ("join", "reject", "replace")

ATTEMPT = "idempotency-attempt"
HEADERS = ("idempotency-key", "idempotency-until", "idempotency-conflict", ATTEMPT)
"""What a request says of its key, in lower case."""

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


def in_headers(headers: Mapping[str, str]) -> IdempotencyKey | None:
    """The key that a request carries, with its lifetime and policy; None if it has none. Names are looked up in lower case.

    Raises `InvalidInput` for what goes with a key and comes without one, and for what says nothing.
    """
    text, until, conflict = (headers.get(name) for name in HEADERS[:3])
    if text is None:
        given = [name.title() for name in HEADERS if name in headers]
        if given:
            mistakes = [fault(f"/headers/{name}", "It goes with an Idempotency-Key.") for name in given]
            raise InvalidInput("There is no idempotency key for this to hold for.", errors=mistakes)
        return None
    if conflict is not None and conflict not in POLICIES:
        mistake = fault("/headers/Idempotency-Conflict", "There is no such policy.", allowed=POLICIES, given=conflict)
        raise InvalidInput(f"'{conflict}' does not say what is to become of a conflict.", errors=[mistake])
    return IdempotencyKey(key=text, until=_until(until), on_conflict=conflict or "join")


def _until(text: str | None) -> float | Literal["terminal"] | None:
    if text is None or text == "terminal":
        return cast(Literal["terminal"] | None, text)
    try:
        return float(text)
    except ValueError:
        return -1.0  # no lifetime: the key says what is
