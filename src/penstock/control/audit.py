"""The audit log: what is written with each deed, the chain that holds it, and the look whether it is whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

from penstock.control.installation import Installation, now
from penstock.errors import PenstockError, StorageFull, Unavailable
from penstock.ids import new_id
from penstock.model.account import Principal
from penstock.model.audit import GENESIS, Entry, Mark, Verdict, broken, chained
from penstock.model.run import Cause
from penstock.store import audit
from penstock.store.session import ReadSession, WriteSession

log = logging.getLogger("penstock.audit")

_BATCH = 1000
_LONGEST = 300
"""Letters of what a request says of itself that are kept."""


@dataclass(slots=True)
class Deed:
    """One request that may change something. What it changes first takes its entry along, into the same transaction."""

    action: str
    object: str
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None
    changing: bool = False
    """Whether the request is one that changes something, and may."""

    who: Principal | None = None
    name: str | None = None
    """Who they say they are, before they have proved it."""

    told: bool = False
    """Whether there is an entry."""


deed: ContextVar[Deed | None] = ContextVar("penstock_deed", default=None)
"""The request that is being answered here; also in the threads that work for it."""


def closing(ws: WriteSession) -> None:
    """Called at the end of every transaction: add the entry of the request that it belongs to, if it has none."""
    current = deed.get()
    if current is not None and current.changing and not current.told:
        audit.insert(ws, _entry(current, status=200))
        ws.after_commit(lambda: setattr(current, "told", True))


def claimed(name: str) -> None:
    """Somebody says who they are, and is about to prove it."""
    current = deed.get()
    if current is not None:
        current.name = name


def proved(who: Principal) -> None:
    """They have: what is written next takes the entry along."""
    current = deed.get()
    if current is not None:
        current.who, current.changing = who, True


def decided(action: str) -> None:
    """Somebody who reports has made a decision of this name: what is written next takes the entry along."""
    current = deed.get()
    if current is not None:
        current.action, current.changing = action, True


@contextmanager
def aside(installation: Installation) -> Iterator[WriteSession]:
    """A transaction beside the request: it may be refused all the same."""
    token = deed.set(None)
    try:
        with installation.db.write() as session:
            yield session
    finally:
        deed.reset(token)


def about(name: str) -> None:
    """The request is about this one of its noun, which is not in its address."""
    current = deed.get()
    if current is not None:
        current.object = f"{current.object}/{name}"


def note(installation: Installation) -> None:
    """Write the entry of the request, which has changed nothing in the database."""
    current = deed.get()
    if current is not None and not current.told:
        current.changing = True
        with installation.db.write():
            pass  # the entry is added at the end of every transaction


def started(ws: WriteSession, cause: Cause, run_id: str, status: int) -> None:
    """A run was started, or found; whatever has started it."""
    _tell(ws, cause, f"runs/{run_id}", status, None)


def not_started(ws: WriteSession, cause: Cause, target: str, error: PenstockError) -> None:
    """A run was not started."""
    _tell(ws, cause, target, error.status, error)


def refused(installation: Installation, refusal: Deed, error: PenstockError) -> None:
    """A request was turned away. Failing to write it down changes nothing about that; where the store is why, nobody tries."""
    refusal.told = True
    if isinstance(error, Unavailable | StorageFull):
        log.warning("a refusal of %s is not on record: %s", refusal.object, error.detail)
        return
    try:
        with installation.db.write() as session:
            audit.insert(session, _entry(refusal, status=error.status, error=error))
    except PenstockError as trouble:
        log.warning("a refusal of %s is not on record: %s", refusal.object, trouble.detail)


def seal(installation: Installation) -> int:
    """Give entries their places in the chain; how many those were. Of several at once, one after the other does it."""
    with installation.db.read() as session:
        if not audit.count_waiting(session):
            return 0
    with installation.db.write() as session:
        audit.begin(session, "head", _signed(installation, "head", 0, GENESIS))  # so that there is a row to hold
        head = _mark(session, installation, "head")
        placed = chained(audit.waiting(session, _BATCH), head.number, head.digest)
        if placed:
            audit.place(session, placed)
            last = placed[-1]
            audit.set_mark(session, "head", _signed(installation, "head", last.number or 0, str(last.digest)))
    return len(placed)


def forget(installation: Installation) -> int:
    """Forget the oldest entries when their time is over; the rest can still be verified. How many; again until it is 0."""
    kept = installation.settings.keep_audit
    if not kept:
        return 0
    before = now() - timedelta(seconds=kept)
    with installation.db.write() as session:
        start = _mark(session, installation, "start")
        old: Entry | None = None
        for entry in audit.after(session, start.number, _BATCH):
            if entry.at >= before or broken(
                entry, *((old.number or 0, str(old.digest)) if old else (start.number, start.digest))
            ):
                break
            old = entry
        if old is None:
            return 0
        audit.set_mark(session, "start", _signed(installation, "start", old.number or 0, str(old.digest)))
        return audit.forget(session, old.number or 0)


def entries(installation: Installation, after: int = 0) -> Iterator[Entry]:
    """All entries that have a place, in order, those that follow this number; a thousand are read at a time."""
    number = after
    while True:
        with installation.db.read() as session:
            found = audit.after(session, number, _BATCH)
        yield from found
        if not found:
            return
        number = found[-1].number or 0


def verify(installation: Installation, anchor: tuple[int, str] | None = None) -> Verdict:
    """Whether every entry is as it was written, where it was, and none is missing.

    An `anchor`, the number and digest of an entry as somebody has noted them elsewhere, has to be in the chain. Entries that
    come meanwhile, and old ones that are forgotten meanwhile, are no matter.
    """
    while seal(installation):
        pass
    return look(installation, anchor)


def look(installation: Installation, anchor: tuple[int, str] | None = None) -> Verdict:
    """The same, changing nothing: entries that wait for their place are not looked at."""
    with installation.db.read() as session:
        start, head = _mark(session, installation, "start"), _mark(session, installation, "head")
    number, before, reason = start.number, start.digest, _unsigned(installation, start, head)
    noted = anchor[0] if anchor is not None and anchor[0] > start.number else None
    for entry in entries(installation, start.number) if reason is None else ():
        reason = broken(entry, number, before) or _differs(entry, head.number, head.digest, "the signed head")
        if reason is None and anchor is not None:
            reason = _differs(entry, *anchor, "the entry that was noted elsewhere")
        if reason is not None:
            break
        number, before = number + 1, str(entry.digest)
    with installation.db.read() as session:
        left, last = audit.count_waiting(session), _mark(session, installation, "head").number
        if _mark(session, installation, "start") != start:
            return look(installation, anchor)  # the oldest went meanwhile
    if reason is None and number < head.number:
        reason = "the chain ends before its head: entries were removed"
    elif reason is None and number > last:
        reason = "the chain goes beyond its head: entries were added"
    elif reason is None and noted is not None and noted > number:
        reason = "the chain does not reach the entry that was noted elsewhere"
    return Verdict(
        intact=reason is None,
        first=start.number + 1,
        last=number,
        digest=before,
        waiting=left,
        broken_at=None if reason is None else number + 1,
        reason=reason,
    )


def check_key(installation: Installation) -> None:
    """See to it that all servers on one database have one `secret.key`. Raises `PenstockError` if this one has another.

    A second one would refuse the tokens of the first, and break the chain of the audit log. Beside SQLite it lies in the
    one home that there is.
    """
    if installation.db.one_writer:
        return
    own = _signed(installation, "key", 0, GENESIS)
    with installation.db.write() as session:
        audit.begin(session, "key", own)
        if audit.mark(session, "key") != own:
            where = installation.settings.shared_directory / "secret.key"
            raise PenstockError(
                f"{where} is not the key of the servers on {installation.db.where}. Give all of them one directory as "
                "PENSTOCK_SHARED, or copy the key from where they have it."
            )


def _unsigned(installation: Installation, start: Mark, head: Mark) -> str | None:
    for name, mark in (("start", start), ("head", head)):
        if mark != _signed(installation, name, mark.number, mark.digest):
            return f"the {name} of the chain is not signed by this installation"
    return None


def _differs(entry: Entry, number: int, digest: str, what: str) -> str | None:
    """What is wrong with an entry that has this number and not this digest."""
    return f"it is not {what}" if entry.number == number and entry.digest != digest else None


def _mark(rs: ReadSession, installation: Installation, name: str) -> Mark:
    found = audit.mark(rs, name)
    return found or _signed(installation, name, 0, GENESIS)


def _signed(installation: Installation, name: str, number: int, digest: str) -> Mark:
    return Mark(number=number, digest=digest, signature=installation.signer.mark(f"audit {name} {number} {digest}"))


def _tell(ws: WriteSession, cause: Cause, object_: str, status: int, error: PenstockError | None) -> None:
    current = deed.get()
    if current is not None:
        current.told = True
    audit.insert(
        ws,
        Entry(
            id=new_id(),
            at=now(),
            action="start_run",
            object=object_[:_LONGEST],
            outcome="done" if error is None else "refused",
            status=status,
            problem=error.slug if error else None,
            kind=current.who.kind if current and current.who else cause.kind,
            account=cause.account,
            account_id=cause.account_id,
            key_id=cause.key_id,
            address=current.address if current else None,
            agent=current.agent if current else None,
            request_id=current.request_id if current else None,
        ),
    )


def _entry(one: Deed, *, status: int, error: PenstockError | None = None) -> Entry:
    who = one.who
    return Entry(
        id=new_id(),
        at=now(),
        action=one.action,
        object=one.object[:_LONGEST],
        outcome="done" if error is None else "refused",
        status=status,
        problem=error.slug if error else None,
        kind=who.kind if who else "nobody",
        account=who.name
        if who
        else one.name and one.name[:_LONGEST].encode(errors="replace").decode().replace("\0", "\ufffd"),
        account_id=who.account_id if who else None,
        key_id=who.key_id if who else None,
        address=one.address,
        agent=one.agent and one.agent[:_LONGEST],
        request_id=one.request_id,
    )
