"""How many requests a key or an address may make: token buckets of this process."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.errors import TooManyRequests
from penstock.server.problems import response
from penstock.settings import Settings

MOST = 10_000
"""Callers that are remembered; the one that was longest silent is forgotten first. Its bucket is full by then, or nearly."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """One bucket for each caller: it holds `rate * burst` tokens, at least one, and gains `rate` per second."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._size, self._clock = rate, max(1.0, rate * burst), clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str) -> float:
        """Seconds until this caller may come again; 0: it may now, and has one token less."""
        if not self._rate:
            return 0.0
        at = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._size, at)
            if len(self._buckets) > MOST:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        bucket.left = min(self._size, bucket.left + (at - bucket.at) * self._rate)
        bucket.at = at
        if bucket.left < 1.0:
            return (1.0 - bucket.left) / self._rate
        bucket.left -= 1.0
        return 0.0


class Rates:
    """ASGI middleware. Sockets of this machine, whose paths are `doors`, have no limit. A refused request has no effect at all."""

    def __init__(self, app: ASGIApp, *, settings: Settings, doors: frozenset[str]) -> None:
        self._app = app
        self._keys = Buckets(settings.rate_per_key, settings.rate_burst)
        self._addresses = Buckets(settings.rate_per_address, settings.rate_burst)
        self._doors = {(door, None) for door in doors}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what comes within the limits."""
        if scope["type"] == "http" and scope.get("server") not in self._doors and (wait := self._wait(scope)):
            seconds = math.ceil(wait)
            error = TooManyRequests(f"Too many requests: again in {seconds} s.", headers={"Retry-After": str(seconds)})
            await response(error, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _wait(self, scope: Scope) -> float:
        """The address first: who sends a new made-up key with every request is still one address."""
        client = scope.get("client")
        wait = self._addresses.take(client[0] if client else "")
        key = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if wait or key is None:
            return wait
        return self._keys.take(hashlib.sha256(key).hexdigest())
