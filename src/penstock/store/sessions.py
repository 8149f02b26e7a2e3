"""The rows of sessions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy import insert as into

from penstock.model.account import Account
from penstock.model.session import Session
from penstock.store.account_tables import accounts, sessions
from penstock.store.accounts import ACCOUNT
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession

_SESSION = Record(Session, sessions)
_INSERT = into(sessions)
_SESSIONS = select(*_SESSION.columns)
_FIND = (
    select(*_SESSION.columns, *ACCOUNT.columns)
    .join(accounts, accounts.c.id == sessions.c.account_id)
    .where(sessions.c.digest == bindparam("secret"))
)
_SEEN = update(sessions).where(sessions.c.id == bindparam("ref")).values(seen=bindparam("at"))
_OF = sessions.c.account_id == bindparam("account")
_END = delete(sessions).where(_OF, sessions.c.id == bindparam("ref"))
_END_ALL = delete(sessions).where(_OF)
_PURGE = delete(sessions).where(sessions.c.expires <= bindparam("now"))


def insert(ws: WriteSession, session: Session, digest: str) -> None:
    """Keep a new session under the hash of its secret."""
    ws.change(_INSERT, _SESSION.row(session) | {"digest": digest})


def find(rs: ReadSession, digest: str) -> tuple[Session, Account] | None:
    """The session whose secret has this hash, and whose it is. Whether it is good is for the caller to see."""
    row = rs.row(_FIND, {"secret": digest})
    return None if row is None else (_SESSION.made(row), ACCOUNT.made(row[len(_SESSION.columns) :]))


def page(rs: ReadSession, account_id: str, window: Window) -> Slice[Session]:
    """The sessions of an account, newest first."""
    return cut(rs, _SESSIONS.where(sessions.c.account_id == account_id), sessions.c.id, window, _SESSION.made)


def touch(ws: WriteSession, session_id: str, at: datetime) -> None:
    """Note that somebody was here."""
    ws.change(_SEEN, {"ref": session_id, "at": at})


def end(ws: WriteSession, account_id: str, session_id: str) -> bool:
    """End one session of an account; whether there was one."""
    return ws.change(_END, {"account": account_id, "ref": session_id}) == 1


def end_all(ws: WriteSession, account_id: str) -> int:
    """End all sessions of an account; how many those were."""
    return ws.change(_END_ALL, {"account": account_id})


def purge(ws: WriteSession, now: datetime) -> int:
    """Forget those that have expired."""
    return ws.change(_PURGE, {"now": now})
