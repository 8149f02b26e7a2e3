"""Guessing at passwords is made slow: for whoever guesses, and not for those whose passwords are guessed at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.control import audit
from penstock.control.installation import Installation, now
from penstock.errors import TooManyRequests
from penstock.ids import digest_of
from penstock.store import users
from penstock.store.session import ReadSession, WriteSession

WINDOW = timedelta(minutes=15)
PER_PAIR, PER_ADDRESS, PER_ACCOUNT = 5, 30, 100
"""Failures within the window after which nothing more is tried: of one address at one account, of one address, and at
one account, where addresses from which its person has signed in lately are let in all the same."""

KNOWN = timedelta(days=30)
"""For how long an address from which somebody has signed in is known for theirs."""


@dataclass(frozen=True)
class Guess:
    """An attempt at an account from an address. The address is the connection's, or what a trusted proxy says."""

    account: str
    address: str

    def pair(self) -> str:
        """What is counted for this address at this account."""
        return digest_of(f"pair\0{self.account}\0{self.address}".encode())

    def known(self) -> str:
        """Where it is noted that the account's person comes from this address."""
        return digest_of(f"known\0{self.account}\0{self.address}".encode())

    def of_address(self) -> str:
        """What is counted for the address."""
        return digest_of(f"address\0{self.address}".encode())

    def of_account(self) -> str:
        """What is counted at the account."""
        return digest_of(f"account\0{self.account}".encode())


def check(rs: ReadSession, guess: Guess) -> None:
    """Raise `TooManyRequests` if there were too many failures; the right password makes no difference then."""
    at = now()
    keys = [guess.pair(), guess.of_address(), guess.of_account(), guess.known()]
    found = users.failures(rs, keys, at)
    limits = {guess.pair(): PER_PAIR, guess.of_address(): PER_ADDRESS}
    if guess.known() not in found:
        limits[guess.of_account()] = PER_ACCOUNT
    waits = [found[key][1] - at for key, most in limits.items() if key in found and found[key][0] >= most]
    if waits:
        seconds = math.ceil(max(waits).total_seconds())
        raise TooManyRequests(
            f"Too many attempts have failed: again in {seconds} s.", headers={"Retry-After": str(seconds)}
        )


def failed(installation: Installation, guess: Guess) -> None:
    """Count a failure."""
    at = now()
    with audit.aside(installation) as session:
        for key in (guess.pair(), guess.of_address(), guess.of_account()):
            users.note_failure(session, key, at, at + WINDOW)


def succeeded(ws: WriteSession, guess: Guess, at: datetime) -> None:
    """Begin anew for this address at this account, and know it for theirs."""
    users.forget_failures(ws, guess.pair())
    users.forget_failures(ws, guess.known())
    users.note_failure(ws, guess.known(), at, at + KNOWN)
