"""Work that one server at a time does for all that share a database: who has it, and until when."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, or_, update

from penstock.store.session import WriteSession
from penstock.store.tables import duties
from penstock.store.upsert import insert_new

_TAKE = (
    update(duties)
    .where(
        duties.c.name == bindparam("ref"), or_(duties.c.owner == bindparam("by"), duties.c.expires <= bindparam("now"))
    )
    .values(owner=bindparam("by"), expires=bindparam("until"))
)
_INSERT = insert_new(duties)


def take(ws: WriteSession, name: str, owner: str, at: datetime, until: datetime) -> bool:
    """Take the duty, or keep it; whether `owner` has it now, until then."""
    if ws.change(_TAKE, {"ref": name, "by": owner, "now": at, "until": until}):
        return True
    return ws.change(_INSERT, {"name": name, "owner": owner, "expires": until}) == 1
