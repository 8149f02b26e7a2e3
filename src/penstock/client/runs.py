"""Runs: start, see, wait for, follow, cancel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack, cast

from penstock.client.configuration import Configuration, checked
from penstock.client.connection import FIRST_PAUSE, PATIENCE, Connection, backoff, given, path
from penstock.client.events import EventStream, RunEvent
from penstock.client.page import LARGEST_PAGE, Page
from penstock.errors import InvalidInput, ServerUnreachable
from penstock.ids import new_id
from penstock.model.bulk import Outcome
from penstock.model.callback import Callback
from penstock.model.comparison import Comparison
from penstock.model.configuration import said
from penstock.model.idempotency import IdempotencyKey
from penstock.model.launch import Ticket
from penstock.model.plan import Plan
from penstock.model.run import LogLine, Run, StepRun
from penstock.model.why import Why

LONGEST_WAIT = 30
"""Seconds that one request asks the server to wait; longer waits are several requests."""

_MARGIN = 15.0
"""Seconds on top of a wait before the server counts as silent."""

inside_step: ContextVar[tuple[str, str, Callable[[], None]] | None] = ContextVar("inside_step", default=None)
"""Of the step whose code is running: its run's id, its invocation id, and what has all that it did reported. Set by the
runtime; runs that are started there name it, and may look for what it made.
"""


class RunFilter(TypedDict, total=False):
    """What a list of runs can be narrowed by. Several states: one of them. Several tags, or words in `q`: all of them."""

    state: str | Iterable[str] | None
    pipeline: str | None
    pipeline_id: str | None
    template: str | None
    template_id: str | None
    version: int | None
    snapshot_id: str | None
    name: str | None
    tag: str | Iterable[str] | None
    q: str | None
    account: str | None
    created_after: datetime | None
    created_before: datetime | None
    parent_run_id: str | None
    page: int | None


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """Some lines of a run's output. `next` is the cursor after them; `ended`: no line will ever follow."""

    lines: tuple[LogLine, ...]
    next: int
    ended: bool


@dataclass(frozen=True, kw_only=True)
class _Claim:
    run: Run
    ticket: Ticket


class Start(Configuration, total=False):
    """What can be given with a start: what is to hold for the run, and who is told of its end."""

    callback_url: str | None


class Again(Start, total=False):
    """What can be given with a replay besides."""

    idempotency_key: str | IdempotencyKey | None


class Where(TypedDict, total=False):
    """Which runs are meant: those to which all of it applies, as in `RunFilter`."""

    state: str | Iterable[str] | None
    pipeline: str | None
    template: str | None
    version: int | None
    snapshot_id: str | None
    name: str | None
    tag: str | Iterable[str] | None
    q: str | None
    account: str | None
    created_after: datetime | None
    created_before: datetime | None
    parent_run_id: str | None


class Runs:
    """Every method takes a run's id or name, or the run itself, as `run`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(
        self,
        *,
        pipeline: str | None = None,
        template: str | None = None,
        snapshot_id: str | None = None,
        wait: float | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
        plan_token: str | None = None,
        **how: Unpack[Start],
    ) -> Run:
        """Start a run of exactly one target: a pipeline's latest snapshot, a template (`name`, `name@vN`), a snapshot.

        With `wait` (seconds) the answer comes when the run has ended or the time is up, whichever is first. The request
        has an idempotency key, its own or the one given: it is repeated for some 10 s if need be, and there is one run.
        Its end is posted to `callback_url`, signed, until that has taken it.
        """
        body = {**_target(pipeline, template, snapshot_id), **_body(how)}
        options = _patience(wait)
        if plan_token is not None:
            options["headers"] = {**options.get("headers", {}), "Plan-Token": plan_token}
        return self._connection.once(Run, "/runs", key=idempotency_key or new_id(), json=body, **options)

    def plan(
        self,
        *,
        pipeline: str | None = None,
        template: str | None = None,
        snapshot_id: str | None = None,
        **configuration: Unpack[Configuration],
    ) -> Plan:
        """What `start` with the same would do, step by step. Nothing is started.

        Its `token`, given to `start` as `plan_token`, holds that start to it: `PlanChanged` if anything has moved since.
        """
        target = _target(pipeline, template, snapshot_id)
        body = {**target, **said(checked(given(**configuration)))}
        return self._connection.fetch(Plan, "POST", "/runs/plan", json=body)

    def claim(self, *, snapshot_id: str, **configuration: Unpack[Configuration]) -> tuple[Run, Ticket]:
        """Start a run that the caller carries out itself, with the ticket that lets it report."""
        body = {"snapshot_id": snapshot_id, "claim": True, **_body(configuration)}
        claim = self._connection.once(_Claim, "/runs", key=new_id(), json=body)
        return claim.run, claim.ticket

    def get(self, run: Run | str) -> Run:
        """The run as it stands now. Raises `NotFound`."""
        return self._connection.fetch(Run, "GET", _at(run))

    def list(self, *, size: int = 20, cursor: str | None = None, **filters: Unpack[RunFilter]) -> Page[Run]:
        """One page of runs, newest first."""
        return self._connection.fetch(Page[Run], "GET", "/runs", query={"size": size, "cursor": cursor, **filters})

    def annotate(
        self,
        run: Run | str,
        *,
        metadata: Mapping[str, Any] | None = None,
        add_tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
        step: str | None = None,
    ) -> Run:
        """Note metadata and tags on a run, whether it has ended or not; with `step`, metadata on that step of it."""
        notes = given(metadata=metadata, add_tags=list(add_tags), remove_tags=list(remove_tags), step=step)
        return self._connection.fetch(Run, "PATCH", _at(run), json=notes)

    def diff(self, run: Run | str, other: Run | str) -> Comparison:
        """What is different in `other`: versions, values and their origins, inputs, steps, metrics, outputs, times."""
        query = {"with": other.id if isinstance(other, Run) else other}
        return self._connection.fetch(Comparison, "GET", _at(run, "diff"), query=query)

    def why(self, run: Run | str) -> Why:
        """What the run waits for, who holds it and since when; of one that has ended, why it ended so."""
        return self._connection.fetch(Why, "GET", _at(run, "why"))

    def callbacks(self, run: Run | str) -> Page[Callback]:
        """Who is told of the run's end, and how far that has come."""
        return self._connection.fetch(Page[Callback], "GET", _at(run, "callbacks"), query={"size": LARGEST_PAGE})

    def delete(self, run: Run | str) -> None:
        """Remove an ended run with its steps, logs and history. Raises `Conflict` if it has not ended."""
        self._connection.send("DELETE", _at(run))

    def cancel(self, run: Run | str, *, children: bool = True) -> Run:
        """Ask for the run to stop, and with `children` all runs that its steps have started.

        It may be `cancelling` for a moment. Raises `Conflict` if it has ended.
        """
        query = {} if children else {"children": "false"}
        return self._connection.fetch(Run, "POST", _at(run, "cancel"), query=query)

    def replay(
        self,
        run: Run | str,
        *,
        template: str | None = None,
        snapshot_id: str | None = None,
        from_failure: bool = False,
        from_step: str | None = None,
        wait: float | None = None,
        **how: Unpack[Again],
    ) -> Run:
        """Start a run like this one. What is given besides replaces what it had; a template or snapshot, its version.

        With `from_failure` the results of steps that ended well are taken over, where code, parameters and inputs are the
        same; with `from_step` as well, but for this step and all that hang on it. The run itself stays as it is.
        """
        key = how.pop("idempotency_key", None) or new_id()
        asked = given(template=template, snapshot_id=snapshot_id, from_step=from_step)
        body = {**asked, **({"from_failure": True} if from_failure else {}), **_said(cast(Start, how))}
        return self._connection.once(Run, _at(run, "replay"), key=key, json=body, **_patience(wait))

    def cancel_many(
        self, *, dry_run: bool = False, everything: bool = False, cursor: str | None = None, **where: Unpack[Where]
    ) -> Outcome:
        """Cancel all runs that fit and have not ended, at most a thousand, each with what its steps have started.

        With `dry_run` they are only told. `cursor` is the `next` of an outcome before: there are more. Without any filter `everything` must be meant.
        """
        body = {"where": _where(where), "all": everything, "dry_run": dry_run, **given(cursor=cursor)}
        return self._connection.fetch(Outcome, "POST", "/runs/cancel", json=body)

    def replay_many(
        self,
        where: Where,
        *,
        dry_run: bool = False,
        from_failure: bool = False,
        template: str | None = None,
        cursor: str | None = None,
        idempotency_key: str | IdempotencyKey | None = None,
        **configuration: Unpack[Configuration],
    ) -> Outcome:
        """Start a run like each of those that fit and have ended, at most a thousand; the rest is as in `replay`.

        `cursor` is the `next` of an outcome before: there are more. With an `idempotency_key` each of them is started once
        for that key.
        """
        asked = given(template=template, cursor=cursor)
        said_of_them: dict[str, Any] = said(checked(given(**configuration)))
        body = {**asked, **said_of_them, "where": _where(where), "dry_run": dry_run, "from_failure": from_failure}
        return self._connection.once(Outcome, "/runs/replay", key=idempotency_key or new_id(), json=body)

    def steps(self, run: Run | str) -> tuple[StepRun, ...]:
        """All step runs so far, in the order in which they were called."""
        found: tuple[StepRun, ...] = ()
        query: dict[str, Any] = {"size": LARGEST_PAGE}
        while True:
            page = self._connection.fetch(Page[StepRun], "GET", _at(run, "steps"), query=query)
            found += page.items
            if page.next is None:
                return found
            query["cursor"] = page.next

    def logs(
        self, run: Run | str, step: str | None = None, *, after: int = 0, limit: int = 1000, wait: float | None = None
    ) -> LogPage:
        """The next lines after the cursor `after`. With `wait` (seconds): when there is one, or at the run's end."""
        query = {"step": step, "after": after, "limit": limit}
        return self._connection.fetch(LogPage, "GET", _at(run, "logs"), query=query, **_patience(wait))

    def follow(self, run: Run | str, *, after: int = 0) -> Iterator[RunEvent]:
        """The entries of the run's history with a number above `after`, as they happen, until the run has ended.

        A broken connection is taken up again where it broke. Raises `ServerUnreachable` once the server has been away
        for about 10 s.
        """
        pause = FIRST_PAUSE
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            stream = EventStream(self._connection.lines(_at(run, "events"), headers=headers))
            try:
                for event in stream:
                    after, pause = event.number, FIRST_PAUSE
                    yield event
            except ServerUnreachable:
                self._outlasting(run)
            if stream.ended:
                return
            time.sleep(pause)
            pause = backoff(pause)

    def wait(self, run: Run | str, timeout: float | None = None) -> Run:
        """The run when it has ended, however it has. Raises `TimeoutError` after `timeout` seconds."""
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        pause = FIRST_PAUSE
        while True:
            asked = time.monotonic()
            now = self._outlasting(run, wait=min(LONGEST_WAIT, deadline - asked))
            if now.state.terminal:
                return now
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Run {now.name} has not ended within {timeout:g} s: it is {now.state}.")
            if time.monotonic() - asked < 1:  # the server did not wait, which is its right
                time.sleep(min(pause, left))
                pause = backoff(pause)

    def _outlasting(self, run: Run | str, wait: float | None = None) -> Run:
        """`get`, repeated for a while if the server is away: it may be restarting."""
        deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return self._connection.fetch(Run, "GET", _at(run), **_patience(wait))
            except ServerUnreachable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = backoff(pause)


def _at(run: Run | str, *rest: str) -> str:
    return path("runs", run.id if isinstance(run, Run) else run, *rest)


def _where(where: Where) -> dict[str, Any]:
    listed = {name: _listed(where.get(name)) or None for name in ("state", "tag")}
    return given(**{**where, **listed})


def _listed(values: Any) -> list[str]:
    return [values] if isinstance(values, str) else list(values or ())


def _target(pipeline: str | None, template: str | None, snapshot_id: str | None) -> dict[str, str]:
    target = given(pipeline=pipeline, template=template, snapshot_id=snapshot_id)
    if len(target) != 1:
        raise InvalidInput(
            "Name exactly one thing to run: a pipeline, a template, or a snapshot; "
            f"{'none was' if not target else ' and '.join(target) + ' were'} given."
        )
    return target


def _said(how: Start | Configuration) -> dict[str, Any]:
    """What is given with a start, as fields of the request."""
    configuration = {name: value for name, value in how.items() if name != "callback_url"}
    return {**said(checked(given(**configuration))), **given(callback_url=how.get("callback_url"))}


def _body(how: Start | Configuration) -> dict[str, Any]:
    """A run configuration as fields of the request, with the step that asks, if one does."""
    body = _said(how)
    caller = inside_step.get()
    if caller is not None:
        run_id, step, report = caller
        report()
        body["step_run"] = {"run_id": run_id, "step": step}
    return body


def _patience(wait: float | None) -> dict[str, Any]:
    """The options of a request that lets the server wait up to `wait` seconds before it answers."""
    if not wait or wait <= 0:
        return {}
    seconds = min(LONGEST_WAIT, wait)
    return {"headers": {"Prefer": f"wait={round(seconds, 3):g}"}, "timeout": seconds + _MARGIN}
