"""Answers that were given under an idempotency key, so that the same request again gets the same one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select

from penstock.model.run import TERMINAL
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import idempotency_keys as keys
from penstock.store.tables import runs
from penstock.store.upsert import insert_new


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a request under `key`, by somebody with `scope`, was answered: a run, with an HTTP status.

    `fingerprint` tells whether another request is the same.
    """

    scope: str
    key: str
    fingerprint: str
    run_id: str
    status: int
    created: datetime
    expires: datetime
    until_terminal: bool = False
    """It stands until its run has ended, however long that takes; `expires` is when it may be forgotten after that."""

    attempt: str | None = None
    """Tells the call that the key came with first, so that its being sent again is no second call."""


_BATCH = 1000

_ANSWER = Record(Answer, keys)
_FIND = select(*_ANSWER.columns).where(
    keys.c.scope == bindparam("scope"),
    keys.c.key == bindparam("key"),
    (keys.c.expires > bindparam("now")) | keys.c.until_terminal,
)
_DROP_EXPIRED = delete(keys).where(
    keys.c.scope == bindparam("scope"),
    keys.c.key == bindparam("key"),
    keys.c.expires <= bindparam("now"),
    ~keys.c.until_terminal,
)
_FORGET = delete(keys).where(keys.c.scope == bindparam("scope"), keys.c.key == bindparam("key"))
_ENDED = select(runs.c.id).where(runs.c.state.in_(sorted(TERMINAL)))
_DONE_WITH = ~keys.c.until_terminal | keys.c.run_id.in_(_ENDED)
_INSERT = insert_new(keys)
_OLDEST = select(keys.c.expires).where(keys.c.expires <= bindparam("now"), _DONE_WITH).order_by(keys.c.expires)
_PURGE = delete(keys).where(keys.c.expires <= bindparam("until"), _DONE_WITH)


def find(rs: ReadSession, scope: str, key: str, now: datetime) -> Answer | None:
    """The answer under this key, unless it has expired."""
    row = rs.row(_FIND, {"scope": scope, "key": key, "now": now})
    return None if row is None else _ANSWER.made(row)


def insert(ws: WriteSession, answer: Answer) -> bool:
    """Keep the answer; its run is stored already. False if another request with this key was faster.

    Where it is False, the caller gives up its transaction and answers with what `find` gives then.
    """
    ws.change(_DROP_EXPIRED, {"scope": answer.scope, "key": answer.key, "now": answer.created})
    return ws.change(_INSERT, _ANSWER.row(answer)) == 1


def forget(ws: WriteSession, scope: str, key: str) -> None:
    """Give the key free."""
    ws.change(_FORGET, {"scope": scope, "key": key})


def purge(ws: WriteSession, now: datetime) -> int:
    """Forget the oldest expired answers, about a thousand so that nobody waits long; how many. Again until it is 0."""
    until = ws.value(_OLDEST.offset(_BATCH).limit(1), {"now": now})
    return ws.change(_PURGE, {"until": until or now})
