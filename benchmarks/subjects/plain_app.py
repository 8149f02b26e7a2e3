"""The yardstick of a trigger: one row, committed as durably as Penstock commits it, and the work done on the spot."""

from __future__ import annotations

import os
import sqlite3
import threading
from functools import cache

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
_writing = threading.Lock()  # SQLite has one writer, and lets those who meet it sleep for long


class Wanted(BaseModel):
    """What is asked for."""

    number: int


@app.get("/health")
def health() -> dict[str, str]:
    """Say that it serves."""
    return {"status": "ok"}


@app.post("/runs")
def run(wanted: Wanted) -> dict[str, int]:
    """Do the work, and keep one row of it."""
    square = wanted.number * wanted.number
    with _writing, _database() as database:
        row = database.execute("INSERT INTO runs (number, square) VALUES (?, ?)", (wanted.number, square))
    return {"id": row.lastrowid or 0, "square": square}


@cache
def _database() -> sqlite3.Connection:
    """The one connection, opened at the first use."""
    database = sqlite3.connect(f"{os.environ['PENSTOCK_HOME']}/plain.db", check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, number INTEGER, square INTEGER)")
    return database
