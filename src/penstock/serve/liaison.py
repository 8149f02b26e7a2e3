"""What a process of a deployment hears of its trial, and tells of it: a thread that asks the server behind the requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from penstock.client.transport import Transport
from penstock.errors import PenstockError
from penstock.ids import new_id
from penstock.model.trial import Part, TrialOrder, TrialOrders, TrialWord
from penstock.model.wire import reader
from penstock.serve.contest import Contest, Host
from penstock.serve.service import Service

LOOK = 2.0
"""Seconds between two questions whether there is a trial, as long as somebody asks the deployment anything."""

PACE = 0.5
"""The same, and between two reports, while there is one."""

PATIENCE = 10.0
"""Seconds that the server has for an answer."""

LAST_WORD = 2.0
"""Seconds for the last report."""

log = logging.getLogger("penstock.trial")
T = TypeVar("T")


class Liaison:
    """The trials of a service. `take` is given the contest that is on, or None, on the loop.

    No order outlives its process: who starts asks the server first, and sends nothing to a candidate before it has answered.
    A server that is away changes nothing in a trial that is on.
    """

    def __init__(self, service: Service, host: Host, take: Callable[[Contest | None], None]) -> None:
        plan = service.plan
        self._service = service
        self._host = host
        self._take = take
        self._loop = service.loop
        self._path = f"/deployments/{plan.deployment_id}/trial/words"
        self._transport = Transport(plan.server, plan.token or None, timeout=PATIENCE)
        self._process = new_id()
        self._number = 0
        self._contest: Contest | None = None
        self._untold: Part | None = None
        self._said_stopped: str | None = None
        self._seen = 0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="penstock-trial", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Tell what is left to tell, and end. Not to be called on the loop."""
        self._leaving.set()
        self._thread.join(PATIENCE + LAST_WORD)

    def _work(self) -> None:
        while not self._leaving.wait(PACE if self._contest is not None else LOOK):
            self._safely(self._once)
        self._safely(self._last)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PenstockError as error:
            if error.status in (401, 403, 404):  # the deployment is gone
                self._safely(lambda: self._obey(None))
        except Exception:  # a trial that goes wrong must cost no request
            log.exception("seeing to a trial failed")

    def _once(self) -> None:
        """Ask once: nothing without need. A service that nobody asks asks nothing."""
        asked = self._service.measures.total
        if self._contest is None and asked == self._seen:
            return
        self._seen = asked
        self._obey(self._told(PATIENCE))

    def _last(self) -> None:
        if self._contest is not None:
            try:
                self._told(LAST_WORD)
            finally:
                self._obey(None)

    def _told(self, patience: float) -> TrialOrder | None:
        """Tell what is new; what is to be done. What was not heard is told again under the same number."""
        contest = self._contest
        word = TrialWord(process=self._process, revision=self._service.plan.revision)
        if contest is not None:
            word = self._word(contest)
        answer = self._transport.request("POST", self._path, json=word, timeout=patience)
        if word.part is not None:
            self._untold, self._said_stopped = None, word.stopped
        return reader(TrialOrders)(answer.body).order

    def _word(self, contest: Contest) -> TrialWord:
        stopped = self._on_loop(self._judged(contest))
        if self._untold is None:
            self._untold = self._on_loop(self._news(contest))
            if self._untold is None and stopped != self._said_stopped:
                self._untold = Part()
            self._number += self._untold is not None
        return TrialWord(
            process=self._process,
            revision=self._service.plan.revision,
            number=self._number,
            trial_id=contest.order.trial_id,
            part=self._untold,
            stopped=stopped,
        )

    def _obey(self, order: TrialOrder | None) -> None:
        known = self._contest
        if order is not None and known is not None and known.order.trial_id == order.trial_id:
            if order != known.order:
                self._on_loop(known.change(order))
            return
        if known is not None:
            self._contest, self._untold, self._said_stopped = None, None, None
            self._take_on_loop(None)
            self._on_loop(known.close())
        if order is not None:
            self._contest = self._on_loop(self._begun(order))
            self._take_on_loop(self._contest)

    # On the loop

    def _take_on_loop(self, contest: Contest | None) -> None:
        self._loop.call_soon_threadsafe(self._take, contest)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begun(self, order: TrialOrder) -> Contest:
        return Contest(order, self._host)

    async def _judged(self, contest: Contest) -> str | None:
        contest.judge()
        return contest.stopped

    async def _news(self, contest: Contest) -> Part | None:
        return contest.taken()
