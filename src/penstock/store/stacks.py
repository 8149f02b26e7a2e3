"""The rows of stacks."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy import insert as into

from penstock.errors import found
from penstock.ids import is_id
from penstock.model.stack import Stack
from penstock.store.paging import Slice, Window, cut
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import stacks
from penstock.store.upsert import upsert

_STACK = Record(Stack, stacks)
_INSERT = into(stacks)
_INSERT_DEFAULT = upsert(stacks, [stacks.c.name], [])
_STACKS = select(*_STACK.columns)
_BY_ID = _STACKS.where(stacks.c.id == bindparam("ref"))
_BY_NAME = _STACKS.where(stacks.c.name == bindparam("ref"))


def insert(ws: WriteSession, stack: Stack) -> None:
    """Keep a new stack. Raises `Conflict` if its name is used."""
    ws.change(_INSERT, _STACK.row(stack), taken=f"There is already a stack named '{stack.name}'.")


def ensure(ws: WriteSession, stack: Stack) -> bool:
    """Keep the stack unless there is one of this name already; whether it is new."""
    return ws.change(_INSERT_DEFAULT, _STACK.row(stack)) == 1


def get(rs: ReadSession, ref: str) -> Stack:
    """The stack with this id or name. Raises `NotFound`."""
    return _STACK.made(found(rs.row(_BY_ID if is_id(ref) else _BY_NAME, {"ref": ref}), "stack", ref))


def page(rs: ReadSession, window: Window, *, name: str | None = None) -> Slice[Stack]:
    """Stacks, newest first."""
    statement = _STACKS
    if name is not None:
        statement = statement.where(stacks.c.name == name)
    return cut(rs, statement, stacks.c.id, window, _STACK.made)
