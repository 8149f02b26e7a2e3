"""Requests that carry a key: which of them start a run, and which get the run of an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.control.installation import now
from penstock.errors import KeyHeld, KeyReused, fault
from penstock.model.idempotency import IdempotencyKey
from penstock.model.run import Cause, Run
from penstock.store import idempotency as stored
from penstock.store import runs
from penstock.store.failures import Collision
from penstock.store.session import WriteSession

_POINTER = "/headers/Idempotency-Key"


@dataclass(frozen=True, kw_only=True)
class Once:
    """A key with the fingerprint of the request that carries it."""

    key: IdempotencyKey
    fingerprint: str
    attempt: str | None = None
    """The same each time that one call is sent, because its answer was lost; different for each call."""


@dataclass(frozen=True, kw_only=True)
class Met:
    """What a key has led to: the run of an earlier request to answer with, or those that were cancelled for this one."""

    run: Run | None = None
    cancelled: tuple[Run, ...] = ()


def meet(ws: WriteSession, once: Once, cause: Cause, at: datetime, cancel: Callable[[str], list[Run]]) -> Met:
    """What an earlier request with this key means for this one.

    Raises `KeyReused` for a key that came with another request, and `KeyHeld` if its run goes on and is not to be joined.
    """
    scope, key = scope_of(cause), once.key
    ws.alone(f"idempotency key {scope} {key.key}")  # the next one with this key sees what becomes of this one
    known = stored.find(ws, scope, key.key, at)
    if known is None:
        return Met()
    run = runs.get(ws, known.run_id)
    same = known.fingerprint == once.fingerprint
    if same and once.attempt is not None and once.attempt == known.attempt:  # the answer was lost
        return Met(run=run)
    if known.until_terminal and run.state.terminal:
        stored.forget(ws, scope, key.key)
        return Met()
    if key.on_conflict == "reject" and not run.state.terminal:
        mistake = fault(_POINTER, f"Run {run.name} holds it, and is {run.state}.")
        raise KeyHeld(
            f"The key '{key.key}' is held by run {run.name}, which goes on. Nothing was started.", errors=[mistake]
        )
    if key.on_conflict == "replace" and not run.state.terminal:
        cancelled = cancel(run.id)
        stored.forget(ws, scope, key.key)
        return Met(cancelled=tuple(cancelled))
    if not same:
        mistake = fault(_POINTER, "Use a new key for a new request.")
        raise KeyReused(f"The key '{key.key}' came before with another request.", errors=[mistake])
    return Met(run=run)


def keep(ws: WriteSession, once: Once, by: Cause, run: Run, lifetime: float) -> None:
    """Have the key, of whoever asks, stand for this run from now on; for `lifetime` seconds where nobody said how long."""
    at = now()
    until = once.key.until
    seconds = until if isinstance(until, float | int) else lifetime
    answer = stored.Answer(
        scope=scope_of(by),
        key=once.key.key,
        fingerprint=once.fingerprint,
        run_id=run.id,
        status=202,
        created=at,
        expires=at + timedelta(seconds=seconds),
        until_terminal=until == "terminal",
        attempt=once.attempt,
    )
    if not stored.insert(ws, answer):  # another one was faster, between our look and now: the next look finds it
        raise Collision("A request with this key is being answered. Send it again.", headers={"Retry-After": "1"})


def scope_of(cause: Cause) -> str:
    """Whose keys these are: those of different accounts never meet."""
    return cause.account_id or cause.account
