"""People: how they get an account and a password, and how they prove who they are."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from penstock.control import audit, throttle
from penstock.control.accounts import principal_of
from penstock.control.installation import Installation, now
from penstock.control.throttle import Guess
from penstock.errors import Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable, fault
from penstock.ids import check_name, new_id
from penstock.model.account import Account, Role, check_grants
from penstock.model.session import new_secret, secret_digest
from penstock.store import accounts, sessions, users
from penstock.store.session import WriteSession

CODE_LIFETIME = timedelta(hours=24)
SHORTEST, LONGEST = 10, 256

# What OWASP recommends for argon2id where memory is dear: 19 MiB, two passes.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_DUMMY = _hasher.hash(new_secret())
"""What the password of somebody who is not there is compared with: it takes as long."""

_hashing = threading.BoundedSemaphore(2)
"""Each hash is meant to be dear; more of them at once would starve everything else."""

_WRONG = "The name or the password is wrong."


@dataclass(frozen=True, kw_only=True)
class Invited:
    """An account of a person, and the code with which they give it a password: good once, for a day."""

    account: Account
    code: str
    expires_in: int = int(CODE_LIFETIME.total_seconds())


def invite(
    ws: WriteSession,
    *,
    name: str,
    description: str | None = None,
    role: Role = "viewer",
    grants: Mapping[str, Role] | None = None,
) -> Invited:
    """A new account of a person, without a password. Raises `Conflict` if the name is taken."""
    account = _account(name, role, grants or {}, description)
    accounts.insert(ws, account)
    return Invited(account=account, code=_code_for(ws, account.id))


def reset(ws: WriteSession, account: Account) -> Invited:
    """A code for a new password. The old one works until then."""
    return Invited(account=account, code=_code_for(ws, account.id))


def set_up_code(installation: Installation) -> str | None:
    """The code with which the first person makes their account, in the place of any earlier one; None if somebody has."""
    with installation.db.write() as session:
        return None if users.count(session) else _code_for(session, None)


def activate(installation: Installation, code: str, password: str, name: str | None, guess: Guess) -> Account:
    """Give the account of a code its password. The set-up code makes the first account, an admin's, under `name`.

    All sessions and tokens of the account end. Raises `InvalidInput`, and `Unauthenticated` for a code that is not good.
    """
    with installation.db.read() as session:
        throttle.check(session, guess)
    digest = hashed(password, at="/password")
    at = now()
    with installation.db.write() as session:
        good, account_id = users.take_code(session, secret_digest(code), at)
        if good and account_id is not None:
            person = users.find(session, account_id, by_id=True)
            if person is not None:
                _set_password(session, person, digest)
                audit.proved(principal_of(person.account))
                return person.account
        if good and not users.count(session):
            if name is None:
                raise InvalidInput("The first account needs a name.", errors=[fault("/name", "Give a name.")])
            account = _account(name, "admin", {}, None)
            accounts.insert(session, account)
            users.set_password(session, account.id, digest, 1, at)
            audit.proved(principal_of(account))
            return account
    throttle.failed(installation, guess)
    raise Unauthenticated("This code is not good (any more): each works once, within a day.")


def verify(installation: Installation, name: str, password: str, address: str) -> users.Person:
    """The person with this name and password. Raises `Unauthenticated`, `TooManyRequests` after too many failures.

    It takes as long for somebody who is not there.
    """
    guess = Guess(name, address)
    with installation.db.read() as session:
        throttle.check(session, guess)
        person = users.find(session, name)
    known = person.digest if person is not None and person.digest is not None else _DUMMY
    right = _matches(known, password)
    if person is None or person.digest is None or not right or not person.account.active:
        throttle.failed(installation, guess)
        raise Unauthenticated(_WRONG)
    fresh = hashed(password) if _hasher.check_needs_rehash(known) else None
    audit.proved(principal_of(person.account))
    with installation.db.write() as session:
        throttle.succeeded(session, guess, now())
        if fresh is not None:
            users.set_password(session, person.account.id, fresh, person.epoch, now())
    return person


def change_password(installation: Installation, account_id: str, current: str, new: str, address: str) -> None:
    """Another password; all sessions and tokens of the account end. The current one is needed."""
    with installation.db.read() as session:
        person = users.find(session, account_id, by_id=True)
    if person is None:
        raise Conflict("This account has no password: only people have.")
    person = verify(installation, person.account.name, current, address)
    if new == current:
        raise InvalidInput("This is the password that it has.", errors=[fault("/new", "Choose another one.")])
    digest = hashed(new, at="/new")
    with installation.db.write() as session:
        _set_password(session, person, digest)


def sign_out_everywhere(ws: WriteSession, account_id: str) -> int:
    """End all sessions and tokens of an account; how many sessions those were. Its API keys stay."""
    users.next_epoch(ws, account_id)
    return sessions.end_all(ws, account_id)


def get(installation: Installation, account_id: str) -> users.Person:
    """The person with this id. Raises `NotFound`."""
    with installation.db.read() as session:
        person = users.find(session, account_id, by_id=True)
    if person is None:
        raise NotFound("There is no such person.")
    return person


def hashed(password: str, *, at: str = "/password") -> str:
    """What is kept of a password. Raises `InvalidInput` for one that is too short, or too long to be meant."""
    if not SHORTEST <= len(password) <= LONGEST:
        mistake = fault(at, f"A password has from {SHORTEST} to {LONGEST} characters.")
        raise InvalidInput("This password is not taken.", errors=[mistake])
    with _turn():
        return _hasher.hash(password)


def _matches(digest: str, password: str) -> bool:
    with _turn():
        try:
            return _hasher.verify(digest, password[: LONGEST + 1])
        except (VerifyMismatchError, InvalidHashError):
            return False


class _turn:  # noqa: N801  (read as a word: with _turn())
    def __enter__(self) -> None:
        if not _hashing.acquire(timeout=10):
            raise Unavailable("Many are signing in at once. Try again.", headers={"Retry-After": "2"})

    def __exit__(self, *_: object) -> None:
        _hashing.release()


def _set_password(ws: WriteSession, person: users.Person, digest: str) -> None:
    users.set_password(ws, person.account.id, digest, person.epoch + 1, now())
    sessions.end_all(ws, person.account.id)


def _account(name: str, role: Role, grants: Mapping[str, Role], description: str | None) -> Account:
    return Account(
        id=new_id(),
        name=check_name(name, what="person"),
        kind="person",
        role=role,
        grants=check_grants(grants),
        description=description,
        created=now(),
    )


def _code_for(ws: WriteSession, account_id: str | None) -> str:
    code = new_secret()
    users.insert_code(ws, secret_digest(code), account_id, now() + CODE_LIFETIME)
    return code
