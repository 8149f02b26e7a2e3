"""Sessions of people in browsers: begun with a password, carried by a cookie, ended from anywhere."""

from __future__ import annotations

import logging
from datetime import timedelta

from penstock.control.accounts import principal_of
from penstock.control.installation import Installation, now
from penstock.errors import StorageFull, Unauthenticated, Unavailable
from penstock.ids import new_id
from penstock.model.account import Account, Principal
from penstock.model.session import NewSession, Session, new_secret, secret_digest
from penstock.store import sessions

log = logging.getLogger("penstock.sessions")

_SEEN_EVERY = timedelta(minutes=1)
_LONGEST = 300


def begin(installation: Installation, account: Account, address: str | None, agent: str | None) -> NewSession:
    """A new session of somebody who has just proved who they are."""
    at, secret = now(), new_secret()
    record = Session(
        id=new_id(),
        account_id=account.id,
        address=address,
        agent=agent[:_LONGEST] if agent else None,
        created=at,
        seen=at,
        expires=at + timedelta(seconds=installation.settings.session_lifetime),
    )
    with installation.db.write() as session:
        sessions.insert(session, record, secret_digest(secret))
    return NewSession(secret=secret, record=record)


def authenticate(installation: Installation, secret: str) -> tuple[Session, Principal]:
    """Who this cookie stands for, with what they may do now. Raises `Unauthenticated`."""
    at = now()
    with installation.db.read() as session:
        found = sessions.find(session, secret_digest(secret))
    idle = timedelta(seconds=installation.settings.session_idle)
    if found is None or found[0].expires <= at or found[0].seen + idle <= at or not found[1].active:
        raise Unauthenticated("This session has ended: sign in again.")
    record, account = found
    if at - record.seen > min(_SEEN_EVERY, idle / 4):
        _note_use(installation, record)
    return record, principal_of(account)


def _note_use(installation: Installation, record: Session) -> None:
    try:
        with installation.db.write() as session:
            sessions.touch(session, record.id, now())
    except (StorageFull, Unavailable) as error:  # it is a good session all the same
        log.warning("the use of a session is not on record: %s", error.detail)
