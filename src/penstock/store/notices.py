"""News between the servers on one PostgreSQL: what each of them rings, the others hear (`LISTEN`, `NOTIFY`)."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from penstock.store.engines import engine

CHANNEL = "penstock"

QUIET = 5.0
"""Seconds without a word after which the connection is tried: one that is dead may not show it."""

LONGEST_PAUSE = 2.0
"""Seconds between two tries to connect."""

_LARGEST = 100
"""Topics in one notice: PostgreSQL takes 8000 bytes."""

_PATIENCE = 10.0

log = logging.getLogger("penstock.notices")


class Notices:
    """One thread with a connection of its own. `heard` gets the topics that another server has rung.

    Nobody may rely on a notice: after a lost connection `missed` is called, since anything may have happened meanwhile.
    A notice is sent after the transaction that it tells of, not in it: PostgreSQL commits transactions that notify one
    after the other, which costs three quarters of what it could write.
    """

    def __init__(self, url: str, heard: Callable[..., object], missed: Callable[[], object]) -> None:
        self._engine = engine(url, 1, _PATIENCE)
        self._heard = heard
        self._missed = missed
        self._lock = threading.Lock()
        self._topics: dict[str, None] = {}
        self._leaving = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._thread = threading.Thread(target=self._work, name="penstock-notices", daemon=True)

    def start(self) -> None:
        """Begin to hear and to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Tell what is to be told, and no more; returns when the thread has ended."""
        self._leaving.set()
        self._stir()
        if self._thread.is_alive():
            self._thread.join()
        self._engine.dispose()
        self._wake.close()
        self._woken.close()

    def tell(self, *topics: str) -> None:
        """Have the other servers hear of these; returns at once. What comes together is told together."""
        if self._leaving.is_set():
            return
        with self._lock:
            idle = not self._topics
            self._topics.update(dict.fromkeys(topics))
        if idle:
            self._stir()

    def _stir(self) -> None:
        with suppress(OSError):  # it is stirred already, or has gone
            self._wake.send(b"!")

    def _work(self) -> None:
        failures = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, OSError)
        pause = 0.0
        while not self._leaving.wait(pause):
            try:
                with self._connected() as driver:
                    log.debug("notices are heard")
                    pause = 0.0
                    self._missed()
                    self._serve(driver)
            except failures as error:
                if not pause:
                    log.warning("no notices of other servers; the store is looked at all the same: %s", error)
                pause = min(LONGEST_PAUSE, 2 * pause or 0.1)
            except Exception:  # it must go on
                log.exception("hearing notices failed")
                pause = LONGEST_PAUSE

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection of psycopg, outside of any transaction, that listens."""
        borrowed = self._engine.raw_connection()
        try:
            driver: Any = borrowed.driver_connection
            driver.autocommit = True
            # What arrives while a statement is executed comes this way, everything else out of `_receive`.
            driver.add_notify_handler(lambda notice: self._take(driver, notice.pid, notice.payload))
            driver.execute(f"LISTEN {CHANNEL}")
            yield driver
        finally:
            borrowed.invalidate()

    def _serve(self, driver: Any) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._leaving.is_set():
                self._send(driver)
                if not selector.select(QUIET):
                    driver.execute("SELECT 1")
                self._calm()
                self._receive(driver)
            self._send(driver)

    def _calm(self) -> None:
        with suppress(BlockingIOError):  # nobody stirred
            self._woken.recv(4096)

    def _send(self, driver: Any) -> None:
        with self._lock:
            topics, self._topics = self._topics, {}
        waiting = list(topics)
        try:
            while waiting:
                driver.execute("SELECT pg_notify(%s, %s)", (CHANNEL, ",".join(waiting[:_LARGEST])))
                waiting = waiting[_LARGEST:]
        except BaseException:
            with self._lock:  # told once there is a connection again
                self._topics.update(dict.fromkeys(waiting))
            raise

    def _receive(self, driver: Any) -> None:
        driver.pgconn.consume_input()
        while notice := driver.pgconn.notifies():
            self._take(driver, notice.be_pid, notice.extra.decode())

    def _take(self, driver: Any, sender: int, payload: str) -> None:
        if sender != driver.pgconn.backend_pid:
            self._heard(*payload.split(","))
