"""The rows of trusts, and of tokens that were used up."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.trust import Trust
from penstock.store.account_tables import trust_uses, trusts
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.upsert import insert_new

_TRUST = Record(Trust, trusts)
_INSERT = into(trusts)
_TRUSTS = select(*_TRUST.columns)
_BY_ID = _TRUSTS.where(trusts.c.id == bindparam("ref"))
_BY_NAME = _TRUSTS.where(trusts.c.name == bindparam("ref"))
_OF = _TRUSTS.where(trusts.c.issuer == bindparam("issuer")).order_by(trusts.c.id)
_REMOVE = delete(trusts).where(trusts.c.id == bindparam("ref"))
_USE = insert_new(trust_uses)
_PURGE = delete(trust_uses).where(trust_uses.c.expires <= bindparam("now"))


def insert(ws: WriteSession, trust: Trust) -> None:
    """Keep a new trust. Raises `Conflict` if its name is used."""
    ws.change(_INSERT, _TRUST.row(trust), taken=f"There is already a trust named '{trust.name}'.")


def get(rs: ReadSession, ref: str) -> Trust:
    """The trust with this id or name. Raises `NotFound`."""
    return _TRUST.made(found(rs.row(_BY_ID if is_id(ref) else _BY_NAME, {"ref": ref}), "trust", ref))


def of_issuer(rs: ReadSession, issuer: str) -> list[Trust]:
    """The trusts in tokens of this issuer, the oldest first."""
    return [_TRUST.made(row) for row in rs.rows(_OF, {"issuer": issuer})]


def page(rs: ReadSession, window: Window, *, name: str | None = None, issuer: str | None = None) -> Slice[Trust]:
    """Trusts, newest first."""
    statement = _TRUSTS
    if name is not None:
        statement = statement.where(trusts.c.name == name)
    if issuer is not None:
        statement = statement.where(trusts.c.issuer == issuer)
    return cut(rs, statement, trusts.c.id, window, _TRUST.made)


def remove(ws: WriteSession, trust_id: str) -> None:
    """Remove the trust; what was made of tokens under it is refused from now on."""
    ws.change(_REMOVE, {"ref": trust_id})


def use_up(ws: WriteSession, digest: str, expires: datetime) -> bool:
    """Note that this token was used; False if it had been before. Of several at once, one succeeds."""
    return ws.change(_USE, {"digest": digest, "expires": expires}) == 1


def purge(ws: WriteSession, now: datetime) -> int:
    """Forget used tokens that have expired."""
    return ws.change(_PURGE, {"now": now})
