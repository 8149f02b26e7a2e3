"""Credentials that were read lately: the next request with the same key asks the store nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from penstock.store import accounts
from penstock.store.accounts import CREDENTIALS, Credential
from penstock.store.session import Database

MOST = 1000
"""So many are remembered."""


class Credentials:
    """What stands behind the public parts of keys, as it stands in the store now.

    Whatever changes a credential outdates all that is remembered before the change is answered. Where other servers
    write to the same database nothing is remembered.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, tuple[int, Credential]] = {}

    def remembered(self, public: str) -> Credential | None:
        """Without asking the store. None: it may be there all the same."""
        revision, credential = self._known.get(public, (-1, None))
        return credential if revision == self._db.revisions[CREDENTIALS] else None

    def find(self, public: str) -> Credential | None:
        """None if there is none."""
        known = self.remembered(public)
        if known is not None:
            return known
        revision = self._db.revisions[CREDENTIALS]  # before the look: a change that comes meanwhile outdates it
        with self._db.read() as session:
            found = accounts.credential(session, public)
        if found is not None and self._db.one_writer:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[public] = (revision, found)
        return found

    def used(self, public: str, at: datetime) -> None:
        """Remember when the key was last used; the store is told by the caller."""
        if (known := self._known.get(public)) is not None:
            revision, credential = known
            self._known[public] = (revision, replace(credential, key=replace(credential.key, last_used=at)))
