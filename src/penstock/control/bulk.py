"""The same thing done to many runs: each on its own, so that one that cannot be changed keeps no other from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from penstock.control.installation import Installation
from penstock.errors import InvalidInput, PenstockError, fault
from penstock.model.bulk import Done
from penstock.model.run import TERMINAL, Run, RunState
from penstock.store import runs
from penstock.store.paging import LARGEST, Window
from penstock.store.runs import RunFilter

MOST = 1000
"""So many runs are changed by one request; whoever has more sends it again."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The runs that fit, the oldest first, and where the rest of them begins."""

    matched: int
    runs: tuple[Run, ...]
    next: str | None


def chosen(
    installation: Installation, where: RunFilter, *, everything: bool, ended: bool, cursor: str | None = None
) -> Chosen:
    """The runs that fit, at most `MOST`, after the `cursor` if there is one.

    Without a state only those are meant that have ended, or only those that have not. Raises `InvalidInput` if nothing
    narrows them down and not `everything` is meant.
    """
    if replace(where, within=None) == RunFilter() and not everything:
        mistake = fault("/where", "Say which runs are meant, or set `all` to true.")
        raise InvalidInput("Nothing says which runs are meant; nothing was done.", errors=[mistake])
    if not where.states:
        meant = TERMINAL if ended else frozenset(RunState) - TERMINAL
        where = replace(where, states=tuple(sorted(meant)))
    found: list[Run] = []
    begun = cursor
    with installation.db.read() as session:
        while len(found) < MOST:
            page = runs.page(session, Window(size=LARGEST, cursor=cursor, oldest_first=True), where)
            found += page.items
            cursor = page.next
            if cursor is None:
                break
        matched = len(found) if begun is None and cursor is None else runs.count(session, where)
    return Chosen(matched=matched, runs=tuple(found), next=cursor)


def originals(found: Sequence[Run]) -> tuple[Run, ...]:
    """Those that are no replays of others among them: what a request has started fits the same request sent again."""
    among = {run.id for run in found}
    return tuple(run for run in found if run.cause.replay_of not in among)


def each(found: Sequence[Run], deed: Callable[[Run], Run]) -> tuple[Done, ...]:
    """Do it to each of them; what was refused is told with the reason."""

    def done(run: Run) -> Done:
        try:
            now = deed(run)
        except PenstockError as error:
            return Done(name=run.name, run_id=run.id, problem=str(error))
        return Done(name=run.name, run_id=now.id, state=now.state)

    return tuple(done(run) for run in found)
