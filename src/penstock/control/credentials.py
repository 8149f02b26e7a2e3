"""Credentials that were read lately: the next request with the same key asks the store nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from penstock.store import accounts
from penstock.store.accounts import CREDENTIALS, Credential
from penstock.store.session import Database


def remembered(db: Database, public: str) -> Credential | None:
    """What stands behind the public part of a key, without asking the store. None: there may be something all the same."""
    known: Credential | None = db.memory.known(CREDENTIALS, public)
    return known


def find(db: Database, public: str) -> Credential | None:
    """What stands behind the public part of a key, as it is now; None if nothing does.

    Whatever changes a credential outdates all that is remembered, before the change is answered.
    """
    known = remembered(db, public)
    if known is not None:
        return known
    age = db.memory.age  # before the look: a change that comes meanwhile is newer
    with db.read() as session:
        found = accounts.credential(session, public)
    if found is not None:
        db.memory.keep(CREDENTIALS, public, found, age)
    return found


def used(db: Database, public: str, credential: Credential, at: datetime) -> None:
    """Remember when the key was last used; the store is told by the caller."""
    db.memory.amend(CREDENTIALS, public, replace(credential, key=replace(credential.key, last_used=at)))
