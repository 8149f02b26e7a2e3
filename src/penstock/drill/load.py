"""Clients: they trigger, cancel and look, send again what was not answered, and note every word of it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle
from random import Random
from typing import Any

from penstock.drill.installation import TEMPLATE, request
from penstock.drill.records import TERMINAL, Answer, Cancel, History, Order, Sight, Surprise

CLIENTS = 6
RIVALS = 3
"""So many more send an order with a key at the same moment, now and then."""

TIMEOUT = 10.0
"""Seconds for which a client waits for an answer before it takes the connection for broken."""

_UNSURE = frozenset({429, 502, 503, 504, 507})
"""Later, they say: a client with a key sends the same again."""

_CLUELESS = frozenset({500, 501, 505})
"""Nothing that is broken here excuses these."""


@dataclass(frozen=True)
class Whom:
    """Who is told: the witness by steps, the receiver by callbacks."""

    witness: str
    receiver: str


class Clients:
    """Some clients at once. What each wants follows from the seed alone; it asks at one of the `ports`, and next time at another."""

    def __init__(self, history: History, ports: Sequence[int], key: str, whom: Whom, seed: int) -> None:
        self._history, self._ports, self._seed = history, cycle(ports), seed
        self._headers = {"Authorization": f"Bearer {key}"}
        self._whom = whom
        self._numbers = count(1)
        self._leaving = threading.Event()
        self._deadline = float("inf")
        self._threads = [
            threading.Thread(target=self._work, name=f"client {one}", daemon=True) for one in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin to trigger."""
        for thread in self._threads:
            thread.start()

    def finish(self, patience: float) -> None:
        """Take no new orders; returns when those that were begun have their answers, or after so many seconds."""
        self._leaving.set()
        self._deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, self._deadline - time.monotonic()) + 2 * TIMEOUT)

    def warm_up(self, first: int, number: int) -> None:
        """Have some runs carried out: the first one of all starts a supervisor, and that takes long."""
        for one in range(first, first + number):
            self.place(Order(number=one, key=f"warm-{one}", nap=0.5))

    def place(self, order: Order) -> str | None:
        """Send an order until it is answered; the id of its run."""
        self._history.add(order)
        return self._insist(order)

    def _insist(self, order: Order) -> str | None:
        pause = 0.05
        while True:
            run_id, again = self._send(order)
            if run_id is not None or not again or order.key is None or time.monotonic() > self._deadline:
                return run_id
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def look(self, run_id: str, wait: int) -> str | None:
        """The state of a run, as far as one can be had."""
        status, run = self._ask("GET", f"/runs/{run_id}", headers={"Prefer": f"wait={wait}"})
        if status == 200:
            self._history.add(Sight(run_id=run_id, at=time.monotonic(), state=run["state"]))
            return str(run["state"])
        return None

    def _work(self) -> None:
        while not self._leaving.is_set():
            number = next(self._numbers)
            chance = Random(f"{self._seed}:order:{number}")
            order = Order(
                number=number,
                key=f"order-{number}" if chance.random() < 0.6 else None,
                nap=round(chance.uniform(0, 0.6), 2),
                flaky=chance.random() < 0.2,
                brood=chance.random() < 0.1,
                callback=chance.random() < 0.3,
            )
            rivals = self._rivals(order) if order.key is not None and chance.random() < 0.1 else []
            run_id = self.place(order)
            for rival in rivals:
                rival.join()
            if run_id is None and order.key is None and chance.random() < 0.5:
                run_id, _ = self._send(order)  # who has no key and no answer can only try again
            if run_id is not None:
                self._follow(run_id, chance)
            else:
                time.sleep(0.2)  # nobody is there: it makes no sense to hurry

    def _rivals(self, order: Order) -> list[threading.Thread]:
        """Others who send the same order at the same moment, under the same key."""
        rivals = [threading.Thread(target=self._insist, args=(order,), daemon=True) for _ in range(RIVALS)]
        for rival in rivals:
            rival.start()
        return rivals

    def _follow(self, run_id: str, chance: Random) -> None:
        if chance.random() < 0.25:
            time.sleep(chance.uniform(0, 1.2))  # somewhere in the life of the run
            self._cancel(run_id)
        for _ in range(chance.randrange(4)):
            if self.look(run_id, 2) in TERMINAL:
                break

    def _cancel(self, run_id: str) -> None:
        while time.monotonic() < self._deadline:
            at = time.monotonic()
            status, answer = self._ask("POST", f"/runs/{run_id}/cancel")
            self._history.add(Cancel(run_id=run_id, at=at, status=status))
            if status is not None and status < 300:
                self._history.add(Sight(run_id=run_id, at=time.monotonic(), state=answer["state"]))
            if status is not None and status not in _UNSURE:
                return
            time.sleep(0.1)

    def _send(self, order: Order) -> tuple[str | None, bool]:
        """The id of the run, and whether it is worth while to send it again."""
        parameters = {
            "witness": self._whom.witness,
            "order": order.number,
            "nap": order.nap,
            "flaky": order.flaky,
            "brood": order.brood,
        }
        wanted: dict[str, Any] = {"parameters": parameters}
        if order.callback:
            wanted["callback_url"] = self._whom.receiver
        headers = {"Idempotency-Key": order.key} if order.key else {}
        at = time.monotonic()
        status, answer = self._ask("POST", f"/run_templates/{TEMPLATE}/runs", wanted, headers)
        run_id = str(answer["id"]) if status is not None and status < 300 else None
        self._history.add(Answer(order=order.number, at=at, status=status, run_id=run_id))
        if run_id is not None:
            self._history.add(Sight(run_id=run_id, at=time.monotonic(), state=answer["state"]))
        return run_id, status is None or status in _UNSURE

    def _ask(
        self, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int | None, Any]:
        line = http.client.HTTPConnection("127.0.0.1", next(self._ports), timeout=TIMEOUT)
        try:
            status, answer = request(line, method, path, content, {**self._headers, **(headers or {})})
        except (OSError, http.client.HTTPException):
            return None, None
        if status in _CLUELESS:
            words = f"{method} {path} was answered {status}: {str(answer)[:500]}"
            self._history.add(Surprise(at=time.monotonic(), what=words))
        return status, answer
