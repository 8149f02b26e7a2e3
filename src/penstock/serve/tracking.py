"""Telling the server of requests, behind their answers: from memory to the disk in batches, from there to the server."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

from penstock.client.transport import Transport
from penstock.errors import PenstockError, ServerUnreachable, StorageFull, TooManyRequests, Unavailable
from penstock.model.deployment import Plan
from penstock.serve.measures import Measures
from penstock.serve.recording import Recording
from penstock.serve.spool import Spool

BATCH = 200
"""Records in one report."""

BATCH_BYTES = 2_000_000
BACKLOG = 20_000
"""Records that may wait in memory; further ones are counted only."""

_TRANSIENT = (ServerUnreachable, Unavailable, StorageFull, TooManyRequests)
_LONGEST_PAUSE = 15.0


class Tracker:
    """Takes the record of each request, and never keeps anybody waiting. A server that is away delays them only."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.measures = Measures(plan)
        self._snapshot_id = plan.snapshot.id
        self._interval = plan.settings.flush_interval
        self._spool = Spool(directory, plan.settings.spool_limit) if plan.server else None
        self._transport = Transport(plan.server, plan.token or None) if plan.server else None
        self._path = f"/deployments/{plan.deployment_id}/runs"
        self._waiting: deque[Recording] = deque()
        self._wake = threading.Event()
        self._spooled = threading.Event()
        self._closing = False
        self._deadline = float("inf")
        self._threads = [
            threading.Thread(target=work, name=f"penstock-{name}", daemon=True)
            for name, work in (("record", self._write), ("report", self._tell))
        ]

    def add(self, recording: Recording) -> None:
        """Take the record of a request that has been answered, or is about to be."""
        if self._spool is None:
            return
        if len(self._waiting) >= BACKLOG:
            self.measures.untold.inc()
            return
        self._waiting.append(recording)

    def start(self) -> None:
        """Begin; records that an earlier process left are told first."""
        if self._spool is not None:
            for thread in self._threads:
                thread.start()

    def close(self, patience: float) -> None:
        """Write all that is there to the disk, and tell the server as much of it as there is time for."""
        self._deadline = time.monotonic() + patience
        self._closing = True
        self._wake.set()
        if self._spool is not None:
            self._threads[0].join()
            self._spooled.set()
            self._threads[1].join(patience + 5)

    def abandon(self) -> None:
        """This is a forked child: what it does is none of the service's requests."""
        self._waiting.clear()

    # To the disk

    def _write(self) -> None:
        while True:
            self._wake.wait(self._interval)
            closing = self._closing
            while self._waiting:
                self._write_some()
            if closing:
                return

    def _write_some(self) -> None:
        assert self._spool is not None
        lines: list[bytes] = []
        size = 0
        while self._waiting and size < BATCH_BYTES and len(lines) < BATCH:
            recording = self._waiting.popleft()
            try:
                lines.append(recording.encoded(self._snapshot_id))
            except Exception:  # noqa: BLE001  # one record that cannot be written must not cost the others
                self.measures.untold.inc()
                continue
            size += len(lines[-1])
        if lines and not self._spool.append(lines):
            self.measures.untold.inc(len(lines))
        self.measures.spooled.set(self._spool.size)
        self._spooled.set()

    # To the server

    def _tell(self) -> None:
        assert self._spool is not None
        pause = 0.05
        while True:
            segment = self._spool.oldest()
            if segment is None:
                if self._closing and not self._threads[0].is_alive():
                    self._spool.rotate()
                    if self._spool.oldest() is None:
                        return
                    continue
                self._spooled.wait(1.0)
                if self._spooled.is_set():
                    self._spooled.clear()
                    self._spool.rotate()
                continue
            try:
                self._tell_all(segment)
            except (*_TRANSIENT, OSError):  # of the second kind: a segment that cannot be read now
                if time.monotonic() + pause > self._deadline:
                    return
                threading.Event().wait(min(pause, max(0.0, self._deadline - time.monotonic())))
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            except PenstockError as error:
                if error.status in (401, 403, 404):  # the deployment is gone, and with it who would want to know
                    return
                self._spool.refuse(segment)
            pause = 0.05
            self._spool.remove(segment)
            self.measures.spooled.set(self._spool.size)

    def _tell_all(self, segment: Path) -> None:
        assert self._transport is not None
        try:
            lines = segment.read_bytes().split(b"\n")
        except FileNotFoundError:  # another worker was first
            return
        batch: list[bytes] = []
        size = 0
        for line in lines[:-1]:  # a line without an end was being written when its process died
            batch.append(line)
            size += len(line)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                self._send(batch)
                batch, size = [], 0
        if batch:
            self._send(batch)

    def _send(self, batch: list[bytes]) -> None:
        assert self._transport is not None
        body = b'{"runs":[' + b",".join(batch) + b"]}"
        headers = {"Content-Type": "application/json"}
        self._transport.request("POST", self._path, body=body, headers=headers, timeout=60.0)
