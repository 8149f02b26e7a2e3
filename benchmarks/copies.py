"""Databases that are full: rows copied straight into the file, since nobody waits for a million runs to be carried out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.harness import check
from penstock.ids import new_id


def copy(
    database: sqlite3.Connection, table: str, rows: Sequence[sqlite3.Row], owners: Iterable[dict[str, Any]]
) -> None:
    """Insert these rows once more for each owner, with what is to be different about them; own ids are new ones."""
    check(bool(rows), f"the run that is copied has nothing in {table}")
    names = rows[0].keys()
    places = ", ".join("?" * len(names))

    def copies() -> Iterator[list[Any]]:
        for changes in owners:
            for row in rows:
                fresh = {"id": new_id()} if "id" in names else {}
                yield list({**dict(row), **fresh, **changes}.values())

    database.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", copies())
