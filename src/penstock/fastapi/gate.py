"""The templates that an embedded router lets its callers start, and the calls to Penstock behind its routes.

The client waits for answers in threads. They are the gate's own, so that neither callers of the router nor other routes of
the application ever wait for a thread that somebody's `Prefer: wait` holds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from penstock.client.client import Client
from penstock.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    PenstockError,
    ServerUnreachable,
    Unauthenticated,
    Unavailable,
    fault,
)
from penstock.fastapi.bodies import RunView, TemplateView, TriggerRequest
from penstock.fastapi.problems import log
from penstock.model.idempotency import IdempotencyKey
from penstock.model.run import Run
from penstock.model.template import parse_reference

T = TypeVar("T")

CALLS = 32
"""Short calls to Penstock at once; further ones wait for their turn."""

SPELL = 5.0
"""Seconds of waiting in one go: so long at most does a caller who hung up hold a place, or an application that stops go on."""

WAITS = 128
"""Callers who wait for the end of a run at once. Who comes when there are so many is answered without waiting."""


class Gate:
    """What may be started, by the name under which it is offered."""

    def __init__(
        self, templates: Iterable[str] | Mapping[str, str], client: Client, *, callbacks: bool = False
    ) -> None:
        if isinstance(templates, str):
            raise InvalidInput(f"The templates are a list: write [{templates!r}].")
        named = templates if isinstance(templates, Mapping) else {one: one for one in templates}
        if not named:
            raise InvalidInput("Name the templates that may be started; there is none.")
        unreachable = [name for name in named if not name or "/" in name]
        if unreachable:
            raise InvalidInput(f"{unreachable[0]!r} cannot stand in an address: offer the template under another name.")
        self._offered = {name: (reference, *_meant(reference)) for name, reference in named.items()}
        self._client = client
        self._callbacks = callbacks
        self._calls = ThreadPoolExecutor(CALLS, thread_name_prefix="penstock-call")
        self._waits = ThreadPoolExecutor(WAITS, thread_name_prefix="penstock-wait")
        self._free = threading.BoundedSemaphore(WAITS)

    async def templates(self) -> list[TemplateView]:
        """All that is offered. What Penstock does not have (any more) is left out, and told in the log."""
        found = await asyncio.gather(*(self._seen(name) for name in self._offered))
        return [one for one in found if one is not None]

    async def template(self, name: str) -> TemplateView:
        """One of them. Raises `NotFound`."""
        reference = self._reference(name)
        try:
            detail = await self._call(lambda: self._client.templates.get(reference))
        except NotFound as error:
            raise self._unknown(name) from error
        return TemplateView.of(name, detail)

    async def start(self, name: str, wanted: TriggerRequest, key: IdempotencyKey | None) -> RunView:
        """Start a run; with a `key`, one for all requests that carry it. Raises `NotFound`, `InvalidInput`."""
        reference = self._reference(name)
        if wanted.callback_url is not None and not self._callbacks:
            told = "Nobody is called back here: wait for the run, or look at it."
            raise InvalidInput("This cannot be given here.", errors=[fault("/callback_url", told)])
        said = wanted.configuration()
        try:
            run = await self._call(lambda: self._client.templates.run(reference, idempotency_key=key, **said))
        except NotFound as error:
            raise self._unknown(name) from error
        return RunView.of(name, run)

    async def run(self, run_id: str) -> RunView:
        """A run of one of the templates. Raises `NotFound`, for runs of other templates too."""
        missing = NotFound(f"There is no run '{run_id}' here.")
        try:
            run = await self._call(lambda: self._client.runs.get(run_id))
        except NotFound as error:
            raise missing from error
        name = self._name_of(run)
        if name is None:
            raise missing
        return RunView.of(name, run)

    async def ended(self, run: RunView, seconds: float, gone: Callable[[], Awaitable[bool]]) -> tuple[RunView, bool]:
        """The run when it has ended, or as it stands after `seconds` or when its caller is `gone`; and whether there was
        a place to wait.
        """
        if run.state.terminal or not seconds:
            return run, bool(seconds)
        if not self._free.acquire(blocking=False):
            return run, False
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0 and not await gone():
                now = await self._answer(self._waits.submit(self._wait, run.id, min(left, SPELL)))
                run = RunView.of(run.template, now)
                if run.state.terminal:
                    break
        finally:
            self._free.release()
        return run, True

    def _wait(self, run_id: str, seconds: float) -> Run:
        try:
            return self._client.runs.wait(run_id, timeout=seconds)
        except TimeoutError:
            return self._client.runs.get(run_id)

    async def _seen(self, name: str) -> TemplateView | None:
        try:
            return await self.template(name)
        except NotFound:
            log.warning("Run template '%s' is offered here, and Penstock does not have it.", name)
            return None

    async def _call(self, call: Callable[[], T]) -> T:
        return await self._answer(self._calls.submit(call))

    async def _answer(self, call: Future[T]) -> T:
        """What a call returns. What only this application has to know is told in its log."""
        try:
            return await asyncio.wrap_future(call)
        except ServerUnreachable as error:
            log.warning("Penstock cannot be reached: %s", error)
            raise Unavailable("Pipelines cannot be reached at the moment. Send the request again.") from error
        except (Unauthenticated, Forbidden) as error:
            log.error("Penstock does not let this application do that: %s", error)
            raise PenstockError("This application may not do that; its operator has to look at its log.") from error
        except PenstockError as error:
            if error.status != PenstockError.status:
                raise
            log.error("Penstock failed: %s", error)
            raise PenstockError("Something went wrong behind this application; its log has the details.") from error

    def _reference(self, name: str) -> str:
        if name not in self._offered:
            raise self._unknown(name)
        return self._offered[name][0]

    def _unknown(self, name: str) -> NotFound:
        mistake = fault("/template", "There is no such run template here.", allowed=self._offered, given=name)
        return NotFound(f"There is no run template '{name}' here.", errors=[mistake])

    def _name_of(self, run: Run) -> str | None:
        """What the run's template is called here; None if it is not offered."""
        fitting = {
            version: name
            for name, (_, template, version) in self._offered.items()
            if template in (run.template_name, run.template_id) and version in (None, run.template_version)
        }
        return fitting.get(run.template_version) or fitting.get(None)


def _meant(reference: str) -> tuple[str, int | None]:
    """The template and, if the reference keeps to one, the version; an alias moves, so its runs may be of any version."""
    name, version = parse_reference(reference)
    return name, version if isinstance(version, int) else None
