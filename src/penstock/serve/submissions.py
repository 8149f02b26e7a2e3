"""Requests that were accepted and are carried out later, on the disk of the service: what was accepted survives everything.

One small database beside the spool, which all processes of the deployment share, also those of two revisions. Each process
holds a lock for as long as it lives, so that the others know what nobody carries out any more.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import KeyReused, NotFound, PenstockError, StorageFull, Unavailable, fault
from penstock.ids import new_id
from penstock.locks import is_held

MOST_KEPT = 10_000
"""Requests that have ended and are remembered, whatever their time; the oldest go first."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS submissions (
    id TEXT PRIMARY KEY, idempotency_key TEXT UNIQUE, fingerprint TEXT NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL,
    submitted REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0, owner TEXT,
    cancelling INTEGER NOT NULL DEFAULT 0, status INTEGER, result BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS submissions_by_state ON submissions (state, id);
"""
_OLDEST = "SELECT id FROM submissions WHERE state = 'queued' ORDER BY id LIMIT 1"
_TO_FORGET = (
    "SELECT id FROM (SELECT id, ended, ROW_NUMBER() OVER newest AS number,"
    " SUM(COALESCE(LENGTH(result), 0) + LENGTH(body)) OVER newest AS size FROM submissions"
    " WHERE ended IS NOT NULL WINDOW newest AS (ORDER BY ended DESC, id DESC)) WHERE ended < ? OR number > ? OR size > ?"
)
_COLUMNS = "id, body, state, submitted, started, ended, attempts, cancelling, status, result"


@dataclass(frozen=True, slots=True)
class Submission:
    """One request as it stands. `state` is queued, running, completed, failed or cancelled."""

    id: str
    body: bytes
    state: str
    submitted: float
    started: float | None
    ended: float | None
    attempts: int
    """How often it was begun."""

    cancelling: bool
    status: int | None
    """What `/invoke` would have answered with, and `result` its body."""

    result: bytes | None


class Submissions:
    """The requests in a directory, as one process sees them. Its methods wait for the disk; threads may call at once.

    All raise `StorageFull` or `Unavailable` if the disk does not do what it should; then nothing was changed.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._me = new_id()
        self._lock = threading.Lock()
        self._alive = os.open(self._mark(self._me), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._alive, fcntl.LOCK_EX)
        path = directory / "submissions.db"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._db.close()
            with suppress(OSError):
                self._mark(self._me).unlink()
            os.close(self._alive)

    def add(self, body: bytes, fingerprint: str, key: str | None, *, most: int, room: int) -> tuple[Submission, bool]:
        """Keep a request; when this returns it is on the disk. With a key that is known: the request that it stands for.

        Also whether it is new. Raises `KeyReused` for a known key with another request, and `Unavailable` if `most` requests
        (or `room` bytes of them) wait already.
        """
        with self._transaction() as db:
            known = None if key is None else self._row(db, "idempotency_key = ?", key)
            if known is not None:
                if (
                    db.execute("SELECT fingerprint FROM submissions WHERE id = ?", (known.id,)).fetchone()[0]
                    != fingerprint
                ):
                    mistake = fault("/headers/Idempotency-Key", "It came with another request before.")
                    raise KeyReused("This idempotency key stands for another request.", errors=[mistake])
                return known, False
            count, size = self._waiting(db)
            if count >= most or size + len(body) > room:
                raise Unavailable("There are more requests waiting than this service keeps. Come back later.")
            made = new_id()
            db.execute(
                "INSERT INTO submissions (id, idempotency_key, fingerprint, body, state, submitted)"
                " VALUES (?, ?, ?, ?, 'queued', ?)",
                (made, key, fingerprint, body, time.time()),
            )
            return self._found(db, made), True

    def get(self, identity: str) -> Submission:
        """The request with this id. Raises `NotFound` for one that there never was, or that was forgotten in the meantime."""
        with self._reading() as db:
            return self._found(db, identity)

    def waiting(self) -> int:
        """How many wait."""
        with self._reading() as db:
            return self._waiting(db)[0]

    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way, here or elsewhere."""
        with self._reading() as db:
            open_one = db.execute("SELECT 1 FROM submissions WHERE state IN ('queued', 'running') LIMIT 1")
            return open_one.fetchone() is None

    def claim(self) -> Submission | None:
        """The oldest that waits, for this process to carry out; None if nothing waits, and then nobody was kept from writing."""
        with self._reading() as db:
            if db.execute(_OLDEST).fetchone() is None:
                return None
        with self._transaction() as db:
            row = db.execute(_OLDEST).fetchone()
            if row is None:  # another process was first
                return None
            db.execute(
                "UPDATE submissions SET state = 'running', owner = ?, attempts = attempts + 1, started = ? WHERE id = ?",
                (self._me, time.time(), row[0]),
            )
            return self._found(db, row[0])

    def finish(self, identity: str, state: str, status: int | None, result: bytes | None) -> None:
        """It has ended like this."""
        with self._transaction() as db:
            _end(db, identity, state, status, result)

    def give_back(self, identity: str) -> None:
        """It was begun here and is to be carried out by whoever comes next, as if it had not been begun.

        One that was cancelled meanwhile has ended.
        """
        with self._transaction() as db:
            if self._found(db, identity).cancelling:
                _end(db, identity, "cancelled", None, None)
                return
            db.execute(
                "UPDATE submissions SET state = 'queued', owner = NULL, started = NULL, attempts = attempts - 1"
                " WHERE id = ? AND owner = ?",
                (identity, self._me),
            )

    def cancel(self, identity: str) -> Submission:
        """Have it end: at once if it waits, soon if it is under way. What has ended stays as it is. Raises `NotFound`."""
        with self._transaction() as db:
            found = self._found(db, identity)
            if found.state == "queued":
                _end(db, identity, "cancelled", None, None)
            elif found.state == "running":
                db.execute("UPDATE submissions SET cancelling = 1 WHERE id = ?", (identity,))
            return self._found(db, identity)

    def cancelled(self) -> list[str]:
        """Those that this process carries out and that somebody has cancelled."""
        with self._reading() as db:
            found = db.execute(
                "SELECT id FROM submissions WHERE state = 'running' AND owner = ? AND cancelling = 1", (self._me,)
            )
            return [row[0] for row in found.fetchall()]

    def recover(self, attempts: int, lost: bytes) -> int:
        """See to those whose process has died: they wait again, or, begun `attempts` times already, have failed with `lost`.

        How many wait again.
        """
        with self._reading() as db:
            others = db.execute(
                "SELECT DISTINCT owner FROM submissions WHERE state = 'running' AND owner <> ?", (self._me,)
            )
            dead = [owner for (owner,) in others.fetchall() if not self._lives(owner)]
        again = 0
        for owner in dead:
            with self._transaction() as db:
                rows = db.execute(
                    "SELECT id, attempts, cancelling FROM submissions WHERE state = 'running' AND owner = ?", (owner,)
                ).fetchall()
                for identity, begun, cancelling in rows:
                    if cancelling:
                        _end(db, identity, "cancelled", None, None)
                    elif begun >= attempts:
                        _end(db, identity, "failed", 500, lost)
                    else:
                        db.execute(
                            "UPDATE submissions SET state = 'queued', owner = NULL, started = NULL WHERE id = ?",
                            (identity,),
                        )
                        again += 1
            with suppress(OSError):
                self._mark(owner).unlink()
        return again

    def forget(self, before: float, room: int) -> None:
        """Drop what ended before this time, and of the rest the oldest for which there is no room."""
        bounds = (before, MOST_KEPT, room)
        with self._reading() as db:
            if db.execute(f"{_TO_FORGET} LIMIT 1", bounds).fetchone() is None:
                return
        with self._transaction() as db:
            db.execute(f"DELETE FROM submissions WHERE id IN ({_TO_FORGET})", bounds)  # noqa: S608  # our own words

    def _mark(self, owner: str) -> Path:
        return self._directory / f"{owner}.alive"

    def _lives(self, owner: str) -> bool:
        """Whether the process holds its lock. Locks of this kind end with their process, and no child has them."""
        return is_held(self._mark(owner), fcntl.lockf)

    def _waiting(self, db: sqlite3.Connection) -> tuple[int, int]:
        row = db.execute("SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM submissions WHERE state = 'queued'")
        count, size = row.fetchone()
        return count, size

    def _found(self, db: sqlite3.Connection, identity: str) -> Submission:
        found = self._row(db, "id = ?", identity)
        if found is None:
            raise NotFound(f"There is no submitted request '{identity[:200]}', or it ended too long ago.")
        return found

    def _row(self, db: sqlite3.Connection, where: str, value: Any) -> Submission | None:
        row = db.execute(f"SELECT {_COLUMNS} FROM submissions WHERE {where}", (value,)).fetchone()  # noqa: S608  # our own words
        return None if row is None else Submission(*row)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told():
            yield self._db


def _end(db: sqlite3.Connection, identity: str, state: str, status: int | None, result: bytes | None) -> None:
    db.execute(
        "UPDATE submissions SET state = ?, status = ?, result = ?, ended = ?, owner = NULL WHERE id = ? AND ended IS NULL",
        (state, status, result, time.time(), identity),
    )


@contextmanager
def _told() -> Iterator[None]:
    """What the database says, as errors that a caller can do something about."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        kind: type[PenstockError] = StorageFull if "full" in str(error) else Unavailable
        raise kind(f"Submitted requests cannot be kept or read now: {error}.") from error
