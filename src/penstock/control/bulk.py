"""The same thing done to many runs: each on its own, so that one that cannot be changed keeps no other from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.control.installation import Installation
from penstock.errors import InvalidInput, PenstockError, fault
from penstock.model.bulk import Done
from penstock.model.run import TERMINAL, Run, RunState
from penstock.store import runs
from penstock.store.paging import LARGEST, Window
from penstock.store.runs import RunFilter

MOST = 1000
"""So many runs are changed by one request; whoever has more sends it again."""


def chosen(installation: Installation, where: RunFilter, *, everything: bool, ended: bool) -> tuple[int, list[Run]]:
    """How many runs fit, and the oldest of them, at most `MOST`.

    Without a state only those are meant that have ended, or only those that have not. Raises `InvalidInput` if nothing
    narrows them down and not `everything` is meant.
    """
    if where == RunFilter() and not everything:
        mistake = fault("/where", "Say which runs are meant, or set `all` to true.")
        raise InvalidInput("Nothing says which runs are meant; nothing was done.", errors=[mistake])
    if not where.states:
        meant = TERMINAL if ended else frozenset(RunState) - TERMINAL
        where = replace(where, states=tuple(sorted(meant)))
    found: list[Run] = []
    cursor, total = None, 0
    with installation.db.read() as session:
        while True:
            page = runs.page(session, Window(size=LARGEST, cursor=cursor, oldest_first=True), where)
            total = page.total if cursor is None else total
            found += page.items
            cursor = page.next
            if cursor is None or len(found) >= MOST:
                return total, found[:MOST]


def each(found: list[Run], deed: Callable[[Run], Run]) -> tuple[Done, ...]:
    """Do it to each of them; what was refused is told with the reason."""

    def done(run: Run) -> Done:
        try:
            now = deed(run)
        except PenstockError as error:
            return Done(name=run.name, run_id=run.id, problem=str(error))
        return Done(name=run.name, run_id=now.id, state=now.state)

    return tuple(done(run) for run in found)


def rehearsed(found: list[Run]) -> tuple[Done, ...]:
    """The same without doing anything."""
    return tuple(Done(name=run.name, run_id=run.id, state=run.state) for run in found)
