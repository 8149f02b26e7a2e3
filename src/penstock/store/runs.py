"""The rows of runs and of their step runs: the queue, the leases on it, and the lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, bindparam, delete, func, literal, or_, select, update
from sqlalchemy import insert as into

from penstock.errors import InvalidInput, fault, found
from penstock.ids import first_id, is_id
from penstock.model.limits import share, turn
from penstock.model.run import CLAIMED, TERMINAL, Run, RunState, StepRun, StepState
from penstock.store import callbacks, limits, tags, words
from penstock.store.limits import Place
from penstock.store.paging import COUNTED, Slice, Window, cut
from penstock.store.pipelines import id_of
from penstock.store.records import Record
from penstock.store.session import ReadSession, WriteSession
from penstock.store.tables import run_tags, runs, step_runs
from penstock.store.upsert import upsert

_RUN = Record(Run, runs)
_STEP_RUN = Record(StepRun, step_runs)
_MOVING = (
    "state",
    "reason",
    "outputs",
    "error",
    "metadata",
    "tags",
    "sequence",
    "lease_owner",
    "lease_expires",
    "started",
    "ended",
)
"""What changes in the life of a run, besides the fence, which only a claim moves."""

_STEP_FIXED = ("id", "run_id", "step", "name", "created")

_INSERT = into(runs)
_REMOVE = delete(runs).where(runs.c.id == bindparam("ref"))
_ANNOTATE = update(runs).where(runs.c.id == bindparam("ref"))
_RUNS = select(*_RUN.columns)
_BY_ID = _RUNS.where(runs.c.id == bindparam("ref"))
_BY_NAME = _RUNS.where(runs.c.name == bindparam("ref"))
_BY_IDS = _RUNS.where(runs.c.id.in_(bindparam("ids", expanding=True)))
_TAKEN = select(runs.c.id, runs.c.name).where(
    or_(runs.c.id.in_(bindparam("ids", expanding=True)), runs.c.name.in_(bindparam("names", expanding=True)))
)
_NEXT = limits.next_of(_RUNS)
_QUEUED_ONE = _RUNS.where(runs.c.id == bindparam("id"), runs.c.state == RunState.QUEUED)
_CLAIM = (
    update(runs)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        state=RunState.STARTING,
        reason=None,
        fence=runs.c.fence + 1,
        sequence=0,
        lease_owner=bindparam("owner"),
        lease_expires=bindparam("expires"),
    )
)
_NOTE_CLAIM = update(runs).where(runs.c.id == bindparam("ref")).values(claimed=bindparam("at"))
_SAVE = update(runs).where(
    runs.c.id == bindparam("ref"), runs.c.fence == bindparam("under"), runs.c.state.not_in(sorted(TERMINAL))
)
_HELD = (
    select(runs.c.id, runs.c.fence, runs.c.state)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)), runs.c.lease_owner.is_not(None))
    .order_by(runs.c.id)  # the order of all who hold several: children come after their parents
)
_RENEW = (
    update(runs)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)))
    .values(lease_owner=bindparam("owner"), lease_expires=bindparam("expires"))
)
_EXPIRED = (
    _RUNS.where(runs.c.lease_expires <= bindparam("now")).order_by(runs.c.lease_expires).limit(bindparam("limit"))
)
_MISDATED = _RUNS.where(runs.c.lease_expires > bindparam("latest")).limit(100)
_HELD_IN = _RUNS.where(runs.c.lease_owner.like(bindparam("here"))).order_by(runs.c.id)
# Owners name their home at the end, behind an `@`; whose home is not known counts everywhere.
_HERE = or_(
    runs.c.lease_owner.is_(None), runs.c.lease_owner.not_like("%@%"), runs.c.lease_owner.like(bindparam("here"))
)
_CHILDREN = _RUNS.where(runs.c.parent_run_id == bindparam("id")).order_by(runs.c.id)
_ANY_QUEUED = select(runs.c.id).where(runs.c.state == RunState.QUEUED).limit(1)
_LIVE = (
    select(runs.c.state, func.count().label("many")).where(runs.c.state.not_in(sorted(TERMINAL))).group_by(runs.c.state)
)
_OLDEST_QUEUED = (
    select(runs.c.created)
    .where(runs.c.state == RunState.QUEUED, or_(runs.c.ready.is_(None), runs.c.ready <= bindparam("now")))
    .order_by(runs.c.id)
    .limit(1)
)
_COUNT_QUEUED = select(func.count()).select_from(runs).where(runs.c.state == RunState.QUEUED)
_ACTIVE = select(func.count()).select_from(runs).where(runs.c.state.in_(sorted(CLAIMED)))
_ACTIVE_HERE = _ACTIVE.where(_HERE)
_STEP_RUNS = select(*_STEP_RUN.columns)
_STEPS = _STEP_RUNS.where(step_runs.c.run_id == bindparam("id")).order_by(step_runs.c.id)
_NAMED = step_runs.c.step.in_(bindparam("named", expanding=True))
_STEPS_NAMED = _STEPS.where(_NAMED)
_STEPS_UNENDED = _STEPS.where(
    or_(_NAMED, step_runs.c.state.not_in(sorted(state for state in StepState if state.terminal)))
)
_STEP = _STEP_RUNS.where(step_runs.c.id == bindparam("id"))
_REMEMBER = (
    update(step_runs)
    .where(step_runs.c.id == bindparam("ref"))
    .values(cache_key=bindparam("key"), pipeline_id=bindparam("pipeline"))
)
_EARLIER = (
    _STEP_RUNS.where(step_runs.c.cache_key == bindparam("key"))
    .order_by(step_runs.c.id.desc())
    .limit(bindparam("limit"))
)
_REMEMBERED_AFTER = (
    _STEP_RUNS.where(
        step_runs.c.run_id == bindparam("run"),
        step_runs.c.id > bindparam("after"),
        step_runs.c.cache_key.is_not(None),
    )
    .order_by(step_runs.c.id)
    .limit(bindparam("limit"))
)
_LATEST_REMEMBERED = (
    _STEP_RUNS.where(step_runs.c.pipeline_id == bindparam("pipeline"), step_runs.c.name == bindparam("name"))
    .order_by(step_runs.c.id.desc())
    .limit(1)
)
_SAVE_STEP = upsert(
    step_runs,
    [step_runs.c.run_id, step_runs.c.step],
    [column for column in step_runs.c if column.name not in _STEP_FIXED],
)


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs to list; what is None does not matter. `pipeline` and `template` are ids or names."""

    states: tuple[RunState, ...] = ()
    pipeline: str | None = None
    template: str | None = None
    snapshot_id: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    """All of them."""

    words: tuple[str, ...] = ()
    """All of them, in the name of the run, or of its template or pipeline."""

    account: str | None = None
    """The name of the account that had them started."""

    version: int | None = None
    """Of the template."""

    parent: str | None = None
    """Id of the run of whose steps they were started."""

    created_after: datetime | None = None
    created_before: datetime | None = None

    within: frozenset[str] | None = None
    """Names of templates: only their runs."""

    served_by: str | None = None
    """Id of the deployment whose requests they were."""


def insert(ws: WriteSession, run: Run, place: Place | None = None) -> None:
    """Keep a new run with its tags. Raises `Conflict` if its name is used.

    Without a place it waits with the others of its template or pipeline, under no limit.
    """
    lane = run.template_id or run.pipeline_id
    place = place or Place(lane=lane, limit=None, turn=turn(run.created, run.configuration.priority))
    row = _RUN.row(run) | _searched(run)
    row |= {"lane": place.lane, "lane_limit": place.limit, "turn": place.turn, "claimed": None}
    row |= {"ready": place.ready, "held_since": place.held_since}
    ws.change(_INSERT, row, taken=f"There is already a run named '{run.name}'.")
    words.note(ws, run)
    tags.note(ws, [run])


def insert_ended(ws: WriteSession, ended: Sequence[Run]) -> None:
    """Keep runs that have ended elsewhere, all new and under free names, with their tags."""
    nothing = dict.fromkeys(("lane", "lane_limit", "turn", "claimed", "ready", "held_since"))
    ws.change(_INSERT, [_RUN.row(run) | nothing | _searched(run) for run in ended])
    tags.note(ws, ended)
    for run in ended:
        words.note(ws, run)


def _searched(run: Run) -> dict[str, str | None]:
    """What of the cause stands in columns of its own, to be searched by."""
    cause = run.cause
    return {"parent_run_id": cause.parent_run_id, "account": cause.account, "served_by": cause.deployment_id}


def taken(rs: ReadSession, ids: Collection[str], names: Collection[str]) -> tuple[set[str], set[str]]:
    """Which of these ids and which of these names are in use."""
    known = rs.rows(_TAKEN, {"ids": sorted(ids), "names": sorted(names)}) if ids else ()
    return {row.id for row in known}, {row.name for row in known}


def remove(ws: WriteSession, run_id: str) -> None:
    """Remove a run with its steps, its history, its logs and its idempotency keys; artifacts that it made stay."""
    ws.change(_REMOVE, {"ref": run_id})


def annotate(ws: WriteSession, run: Run) -> None:
    """Write the metadata and the tags of a run, also of one that has ended."""
    ws.change(_ANNOTATE, {"ref": run.id, "metadata": run.metadata, "tags": run.tags})
    tags.replace(ws, run)


def get(rs: ReadSession, ref: str) -> Run:
    """The run with this id or name. Raises `NotFound`.

    In a write session no other writer changes it until the end: read it there before changing it or adding to it.
    """
    return _RUN.made(found(rs.row(rs.held(_BY_ID if is_id(ref) else _BY_NAME, runs), {"ref": ref}), "run", ref))


def find(rs: ReadSession, run_id: str) -> Run | None:
    """The run with this id, if there is one."""
    row = rs.row(_BY_ID, {"ref": run_id})
    return None if row is None else _RUN.made(row)


def children(rs: ReadSession, run_id: str) -> list[Run]:
    """The runs that steps of this one have started, oldest first; all of them."""
    return [_RUN.made(row) for row in rs.rows(_CHILDREN, {"id": run_id})]


def claim(ws: WriteSession, owner: str, limit: int, expires: datetime, *, at: datetime) -> list[Run]:
    """Take the queued runs whose turn it is, at most `limit`, for `owner` until `expires`; as they are now, in order.

    The order is that of `model.limits.share`: lanes take turns, and in each the earliest turn is first. No lane has more
    runs going on than its limit.

    Each is `starting` under a fence one higher than before. Nobody else gets the same ones. How many `owner` may hold
    is for the caller to know.
    """
    given = share(limits.lanes(ws, at), limit, at)
    taken: dict[str, list[Run]] = {}
    for lane, many in Counter(given).items():
        wanted = {"lane": lane, "limit": many, "now": at}
        taken[lane] = _claimed(ws, ws.held(_NEXT, runs, skip=True), wanted, owner, expires)[::-1]
    claimed = [taken[lane].pop() for lane in given if taken[lane]]
    # A microsecond between two keeps the order in which their lanes were served.
    moments = [at + timedelta(microseconds=number) for number in range(len(claimed))]
    noted = [{"ref": run.id, "at": moment} for run, moment in zip(claimed, moments, strict=True)]
    ws.change(_NOTE_CLAIM, noted)
    return claimed


def claim_one(ws: WriteSession, run_id: str, owner: str, expires: datetime) -> Run | None:
    """Take this run like `claim`; None if it is not queued."""
    claimed = _claimed(ws, ws.held(_QUEUED_ONE, runs), {"id": run_id}, owner, expires)
    return claimed[0] if claimed else None


def save(ws: WriteSession, run: Run) -> bool:
    """Write where the run stands; False, writing nothing, if it was claimed again or has ended meanwhile.

    State, reason, outputs, error, sequence, lease and times are written; all else of a run never changes. With the end of
    a run those are due who are to be told of it: no way to an end goes past here.
    """
    values = {name: getattr(run, name) for name in _MOVING}
    saved = ws.change(_SAVE, values | {"ref": run.id, "under": run.fence}) == 1
    if saved and run.state.terminal:
        callbacks.release(ws, run.id, run.ended or run.created)
    return saved


def renew(ws: WriteSession, owner: str, held: Iterable[tuple[str, int]], expires: datetime) -> dict[str, RunState]:
    """Extend the leases on these (run id, fence); those that are still valid, by id, with the runs' states.

    The fence proves the claim; `owner` has the leases from now on, whoever took them. So a supervisor takes over what a
    dispatcher claimed for it.
    """
    wanted = dict(held)
    rows = ws.rows(ws.held(_HELD, runs), {"ids": sorted(wanted)}) if wanted else ()
    renewed = {row.id: row.state for row in rows if wanted[row.id] == row.fence}
    if renewed:
        ws.change(_RENEW, {"ids": sorted(renewed), "owner": owner, "expires": expires})
    return renewed


def expired(rs: ReadSession, now: datetime, limit: int = 100) -> list[Run]:
    """Runs whose lease has run out, the longest first."""
    return [_RUN.made(row) for row in rs.rows(rs.held(_EXPIRED, runs), {"now": now, "limit": limit})]


def misdated(rs: ReadSession, latest: datetime) -> list[Run]:
    """Runs whose lease ends later than `latest`: a clock that was ahead has written that. A hundred at most."""
    return [_RUN.made(row) for row in rs.rows(rs.held(_MISDATED, runs), {"latest": latest})]


def held_in(rs: ReadSession, place: str) -> list[Run]:
    """Runs that are carried out in this home, oldest first."""
    return [_RUN.made(row) for row in rs.rows(rs.held(_HELD_IN, runs), {"here": f"%{place}"})]


def has_queued(rs: ReadSession) -> bool:
    """Whether any run waits to be claimed."""
    return rs.row(_ANY_QUEUED) is not None


def count_queued(rs: ReadSession) -> int:
    """How many runs wait to be claimed."""
    return int(rs.value(_COUNT_QUEUED))


def count_active(rs: ReadSession, place: str | None = None) -> int:
    """How many runs are claimed and have not ended: all, or all but those that are carried out in another home than `place`."""
    count = rs.value(_ACTIVE) if place is None else rs.value(_ACTIVE_HERE, {"here": f"%{place}"})
    return int(count)


def live(rs: ReadSession) -> dict[RunState, int]:
    """How many runs are in each state that is no end."""
    counts = {row.state: row.many for row in rs.rows(_LIVE)}
    return {state: counts.get(state, 0) for state in RunState if not state.terminal}


def oldest_wait(rs: ReadSession, at: datetime) -> float:
    """Seconds since the oldest run that could start was queued; 0 if there is none."""
    since = rs.value(_OLDEST_QUEUED, {"now": at})
    return 0.0 if since is None else max(0.0, (at - since).total_seconds())


def page(rs: ReadSession, window: Window, wanted: RunFilter) -> Slice[Run]:
    """Runs, newest first. Raises `InvalidInput` for a page of a search that lies too deep."""
    if wanted.words:
        if window.page * window.size > COUNTED:
            mistake = fault("/query/page", f"A search is given by number up to item {COUNTED}; go on with the cursor.")
            raise InvalidInput("This page of a search cannot be given.", errors=[mistake])
        statement = words.found(rs, _filtered(wanted), wanted.words, window)
    elif wanted.tags:
        ids = cut(rs, _tagged(rs, wanted), run_tags.c.run_id, window, lambda row: str(row.run_id))
        rows = rs.rows(_BY_IDS, {"ids": ids.items}) if ids.items else ()
        known = {row.id: _RUN.made(row) for row in rows}
        return Slice(items=tuple(known[one] for one in ids.items if one in known), total=ids.total, next=ids.next)
    else:
        statement = _filtered(wanted)
    return cut(rs, statement, runs.c.id, window, _RUN.made)


def count(rs: ReadSession, wanted: RunFilter) -> int:
    """How many runs fit, however many there are."""
    statement = _tagged(rs, wanted) if wanted.tags else _filtered(wanted)
    return int(rs.value(statement.with_only_columns(func.count(), maintain_column_froms=True)))


def steps(
    rs: ReadSession, run_id: str, *, named: Collection[str] | None = None, unended: bool = False
) -> dict[str, StepRun]:
    """The step runs of a run by invocation id, in the order in which they were declared.

    All of them, or only those with these invocation ids, and with `unended` those besides that have not ended.
    """
    if named is None:
        rows = rs.rows(_STEPS, {"id": run_id})
    else:
        rows = rs.rows(_STEPS_UNENDED if unended else _STEPS_NAMED, {"id": run_id, "named": sorted(named)})
    return {step.step: step for step in map(_STEP_RUN.made, rows)}


def save_steps(ws: WriteSession, changed: Iterable[StepRun]) -> None:
    """Write these step runs, new ones and known ones. The id, the name and the creation of a known one stay."""
    ws.change(_SAVE_STEP, [_STEP_RUN.row(step) for step in changed])


def remember(ws: WriteSession, pipeline_id: str, ended: Iterable[StepRun]) -> None:
    """Have these step runs found by what they hang on; those without a key are left out."""
    keys = [(step, step.cache.key) for step in ended if step.cache is not None and step.cache.key is not None]
    ws.change(_REMEMBER, [{"ref": step.id, "key": key, "pipeline": pipeline_id} for step, key in keys])


def earlier(rs: ReadSession, key: str, limit: int = 10) -> list[StepRun]:
    """Step runs that ended well under this key, the newest first."""
    return [_STEP_RUN.made(row) for row in rs.rows(_EARLIER, {"key": key, "limit": limit})]


def remembered_after(rs: ReadSession, step: StepRun, limit: int) -> list[StepRun]:
    """The step runs of the same run that were declared after this one and ended well, in order."""
    parameters = {"run": step.run_id, "after": step.id, "limit": limit}
    return [_STEP_RUN.made(row) for row in rs.rows(_REMEMBERED_AFTER, parameters)]


def latest_remembered(rs: ReadSession, pipeline_id: str, name: str) -> StepRun | None:
    """The newest run of the step with this name, in this pipeline, that is found by what it hangs on."""
    row = rs.row(_LATEST_REMEMBERED, {"pipeline": pipeline_id, "name": name})
    return None if row is None else _STEP_RUN.made(row)


def get_step(rs: ReadSession, step_run_id: str) -> StepRun:
    """The step run with this id. Raises `NotFound`."""
    return _STEP_RUN.made(found(rs.row(_STEP, {"id": step_run_id}), "step run", step_run_id))


def page_steps(
    rs: ReadSession,
    window: Window,
    *,
    run_id: str | None = None,
    states: tuple[StepState, ...] = (),
    within: frozenset[str] | None = None,
) -> Slice[StepRun]:
    """Step runs, newest first; only those in runs of the templates `within`, if that is given."""
    statement = _STEP_RUNS
    if within is not None:
        statement = statement.where(step_runs.c.run_id.in_(ids_within(within)))
    if run_id is not None:
        statement = statement.where(step_runs.c.run_id == run_id)
    if states:
        statement = statement.where(step_runs.c.state.in_(states))
    return cut(rs, statement, step_runs.c.id, window, _STEP_RUN.made)


def ids_within(within: frozenset[str]) -> Select[Any]:
    """The ids of the runs of the templates with these names, to look for what belongs to them."""
    return select(runs.c.id).where(runs.c.template_name.in_(sorted(within)))


def _filtered(wanted: RunFilter) -> Select[Any]:
    template = runs.c.template_id if is_id(wanted.template or "") else runs.c.template_name
    equal = (
        (template, wanted.template),
        (runs.c.pipeline_id, id_of(wanted.pipeline) if wanted.pipeline is not None else None),
        (runs.c.snapshot_id, wanted.snapshot_id),
        (runs.c.name, wanted.name),
        (runs.c.parent_run_id, wanted.parent),
        (runs.c.served_by, wanted.served_by),
        (runs.c.account, wanted.account),
        (runs.c.template_version, wanted.version),
    )
    statement = _RUNS.where(*(column == value for column, value in equal if value is not None))
    if wanted.states:
        statement = statement.where(runs.c.state.in_(wanted.states))
    if wanted.within is not None:
        statement = statement.where(runs.c.template_name.in_(sorted(wanted.within)))
    return statement.where(*_between(runs.c.id, wanted), *(tags.has(tag, runs.c.id) for tag in wanted.tags))


def _tagged(rs: ReadSession, wanted: RunFilter) -> Select[Any]:
    """The ids of runs with tags, in the order of the index of the rarest one, so that nothing has to be sorted.

    All else is asked of each of them: SQLite, left to itself, begins with what all runs have, and sorts half of them.
    """
    first, *others = tags.rarest_first(rs, wanted.tags)
    key, rest = run_tags.c.run_id, replace(wanted, tags=(), created_after=None, created_before=None)
    statement = select(key).where(run_tags.c.tag == first, *_between(key, wanted))
    statement = statement.where(*(tags.has(tag, key) for tag in others))
    if rest == RunFilter():
        return statement
    fits = _filtered(rest).with_only_columns(literal(1), maintain_column_froms=True).where(runs.c.id == key)
    return statement.where(fits.correlate(run_tags).exists())


def _between(key: Column[str], wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    """When they were created. Ids begin with the time: this needs no index of its own."""
    if wanted.created_after is not None:
        yield key >= first_id(wanted.created_after)
    if wanted.created_before is not None:
        yield key < first_id(wanted.created_before)


def _claimed(
    ws: WriteSession, queued: Select[Any], parameters: dict[str, Any], owner: str, expires: datetime
) -> list[Run]:
    taken = [_RUN.made(row) for row in ws.rows(queued, parameters)]
    if taken:
        ws.change(_CLAIM, {"ids": [run.id for run in taken], "owner": owner, "expires": expires})
    return [
        replace(
            run,
            state=RunState.STARTING,
            reason=None,
            fence=run.fence + 1,
            sequence=0,
            lease_owner=owner,
            lease_expires=expires,
        )
        for run in taken
    ]
