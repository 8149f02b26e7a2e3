"""Devices that ask for access: a command line shows a code, and its owner says yes in a browser (RFC 8628)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; no digits, so nothing to be taken for a letter. Eight of them are 34 bits, for ten minutes."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device that waits for its owner's word. What it polls with is kept as a hash."""

    digest: str
    user_code: str
    client: str
    """What it calls itself."""

    address: str | None
    created: datetime
    expires: datetime
    polled: datetime | None = None
    interval: int = 5
    """Seconds between two polls, at least; more for one that is in a hurry."""

    state: Literal["pending", "approved", "denied"] = "pending"
    account_id: str | None = None
    """Who has said yes."""


def new_user_code() -> str:
    """What people read from one screen and type into another."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def typed(text: str) -> str:
    """A user code as somebody has typed it, in its usual form."""
    letters = "".join(letter for letter in text.upper() if letter.isalnum())[:20]
    return f"{letters[:4]}-{letters[4:]}"
