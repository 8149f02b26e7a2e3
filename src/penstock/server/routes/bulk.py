"""Many runs at once, over HTTP: chosen as in the list of runs, with a rehearsal beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from penstock.control import bulk, replays, runs
from penstock.control.installation import Installation
from penstock.control.targets import Target, prepare
from penstock.model.account import Principal
from penstock.model.bulk import Done, Outcome
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.run import Run, RunState
from penstock.model.words import sought
from penstock.server.access import Here, ListRunner
from penstock.server.bodies import SOUGHT, Moment, Strict, answer
from penstock.server.noun import Noun
from penstock.server.triggers import Trigger, once, plain, start, stop
from penstock.store.runs import RunFilter

router = Noun("/runs", "runs")


class Where(Strict):
    """Which runs are meant: those to which all of this applies."""

    state: tuple[RunState, ...] = ()
    pipeline: str | None = Field(default=None, description="Id or name of a pipeline.")
    template: str | None = Field(default=None, description="Id or name of a run template.")
    snapshot_id: str | None = None
    name: str | None = None
    version: int | None = Field(default=None, ge=1, description="Of the template.")
    tag: str | tuple[str, ...] = Field(default=(), description="With several, all of them.")
    q: str | None = Field(default=None, description=SOUGHT)
    account: str | None = Field(default=None, description="The name of the account that had them started.")
    created_after: Moment | None = None
    created_before: Moment | None = None
    parent_run_id: str | None = None

    def filter(self, within: frozenset[str] | None) -> RunFilter:
        """The same for the store; of these templates only, if the caller is confined to some."""
        return RunFilter(
            states=self.state,
            pipeline=self.pipeline,
            template=self.template,
            snapshot_id=self.snapshot_id,
            name=self.name,
            version=self.version,
            tags=(self.tag,) if isinstance(self.tag, str) else self.tag,
            words=sought(self.q, at="/where/q") if self.q is not None else (),
            account=self.account,
            created_after=self.created_after,
            created_before=self.created_before,
            parent=self.parent_run_id,
            within=within,
        )


class CancelMany(Strict):
    """Runs that have not ended."""

    where: Where = Where()
    all: bool = Field(default=False, description="Without any filter: all of them are meant.")
    dry_run: bool = False
    cursor: str | None = Field(default=None, description="Go on after a request that did not take all.")


@dataclass(frozen=True, kw_only=True)
class ReplayMany(PipelineRunConfiguration):
    """Runs that have ended, and what is to be otherwise in their replays."""

    where: Where = field(default_factory=Where)
    all: Annotated[bool, Field(description="Without any filter: all of them are meant.")] = False
    dry_run: bool = False
    template: Annotated[str | None, Field(description="`name@vN`: run this version instead.")] = None
    snapshot_id: Annotated[str | None, Field(description="Run this snapshot instead.")] = None
    from_failure: Annotated[bool, Field(description="Take over the results of steps that ended well.")] = False
    cursor: Annotated[str | None, Field(description="Go on after a request that did not take all.")] = None


@router.post("/cancel", response_model=Outcome)
def cancel_runs(request: Request, here: Here, who: ListRunner, wanted: CancelMany) -> Response:
    """Cancel all runs that fit, with the runs that their steps have started; at most a thousand at a time."""
    where = wanted.where.filter(who.within)
    found = bulk.chosen(here, where, everything=wanted.all, ended=False, cursor=wanted.cursor)
    deed = _as_it_is if wanted.dry_run else partial(_cancelled, request, here)
    return _outcome(wanted.dry_run, found, bulk.each(found.runs, deed))


@router.post("/replay", response_model=Outcome)
def replay_runs(request: Request, here: Here, who: ListRunner, wanted: ReplayMany) -> Response:
    """Start a run like each of those that fit; at most a thousand at a time. With an `Idempotency-Key`, one like each.

    Of a run and its replays that fit alike, only the run itself is meant.
    """
    where = wanted.where.filter(who.within)
    found = bulk.chosen(here, where, everything=wanted.all, ended=True, cursor=wanted.cursor)
    deed = partial(_rehearsed if wanted.dry_run else _replayed, request, here, who, wanted)
    return _outcome(wanted.dry_run, found, bulk.each(bulk.originals(found.runs), deed))


def _outcome(dry_run: bool, found: bulk.Chosen, items: tuple[Done, ...]) -> Response:
    return answer(Outcome(dry_run=dry_run, matched=found.matched, items=items, next=found.next))


def _as_it_is(run: Run) -> Run:
    return run


def _cancelled(request: Request, here: Installation, run: Run) -> Run:
    cancelled = here.db.do(lambda session: runs.cancel_with_children(session, here, run.id))
    stop(request, cancelled)
    return cancelled[0]


def _replayed(request: Request, here: Installation, who: Principal, wanted: ReplayMany, run: Run) -> Run:
    wish = _wish(who, wanted, run)
    return start(here, wish, runs.Options(once=once(request, wish, part=run.id))).run


def _rehearsed(_: Request, here: Installation, who: Principal, wanted: ReplayMany, run: Run) -> Run:
    """The run as it is, if its replay would be started; what limits would say then is not foretold."""
    wish = _wish(who, wanted, run)
    assert wish.replay is not None
    with here.db.read() as session:
        replays.cause(session, wish.replay, wish.target, wish.cause())
        prepare(session, wish.target, wish.configuration, within=who.within)
    return run


def _wish(who: Principal, wanted: ReplayMany, run: Run) -> Trigger:
    target = Target(template=wanted.template, snapshot=wanted.snapshot_id, like=run.id)
    return Trigger(target, plain(wanted), who, replay=replays.Replay(run=run.id, from_failure=wanted.from_failure))
