"""What tests of the store start from: a database in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.session import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "penstock.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    """An empty database with its schema."""
    database = Database(f"sqlite:///{path}")
    database.migrate()
    yield database
    database.close()
