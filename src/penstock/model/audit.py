"""The audit log: who did what, with which key, from where, and what came of it; each entry holds the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

GENESIS = "0" * 64
"""What the first entry holds for the one before."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One deed. It is written with what it changes; its place in the chain is given to it within seconds."""

    id: str
    at: datetime
    action: str
    """What was asked for: the name of the route, or `start_run` for every run, whatever has started it."""

    object: str
    outcome: Literal["done", "refused"]
    status: int
    problem: str | None = None
    kind: str
    """What kind of caller it was: owner, person, service, run, or nobody."""

    account: str | None = None
    account_id: str | None = None
    key_id: str | None = None
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None
    number: int | None = None
    """Its place in the chain, from 1 without a gap; None for the few seconds until it has one."""

    previous: str | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where the chain begins or ends: the number and the digest of an entry, signed with the secret of the installation."""

    number: int
    digest: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a look at the whole chain."""

    intact: bool
    first: int
    """The number of the first entry that is kept; earlier ones have been forgotten in good order."""

    last: int
    digest: str
    """Of the last entry. Noted elsewhere, it holds everything before it, also against who has the database and its secret."""

    waiting: int
    """Entries that have no place in the chain yet."""

    broken_at: int | None = None
    """The number of the first entry that is not as it was written."""

    reason: str | None = None


def digest(entry: Entry) -> str:
    """The SHA-256 of the entry as canonical JSON, its number and the digest before it included."""
    content = asdict(entry)
    del content["digest"]
    content["at"] = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def chained(entries: Iterable[Entry], number: int, previous: str) -> list[Entry]:
    """The entries with their places in the chain, after the entry with this number and digest."""
    placed = []
    for entry in entries:
        number += 1
        follows = replace(entry, number=number, previous=previous, digest=None)
        previous = digest(follows)
        placed.append(replace(follows, digest=previous))
    return placed


def broken(entry: Entry, number: int, previous: str) -> str | None:
    """What is wrong with an entry that should follow the one with this number and digest; None if nothing is."""
    if entry.number != number + 1:
        return f"entry {number + 1} is missing"
    if entry.previous != previous:
        return "it does not follow the entry before it"
    if entry.digest != digest(entry):
        return "its content is not what was written"
    return None


def plain(entry: Entry) -> dict[str, Any]:
    """The entry as JSON values, for a file that others verify."""
    return {**asdict(entry), "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")}
