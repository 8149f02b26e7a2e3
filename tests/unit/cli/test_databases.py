from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.store import schema


@pytest.fixture
def made(penstock: Any, home: Path) -> Path:
    """The file of a database that is empty but for its schema."""
    assert penstock("db", "upgrade").status == 0
    return home / "penstock.db"


def test_upgrade_is_the_same_under_both_names(penstock: Any, home: Path, capfd: Any) -> None:
    assert penstock("db", "upgrade", "--check").status == 1
    assert "There is no database" in capfd.readouterr().err
    assert not (home / "penstock.db").exists()
    assert penstock("db", "upgrade").stderr.startswith(f"The database got schema {schema.HEAD}, that of Penstock")
    assert penstock("server", "upgrade", "--check").stderr.startswith(f"The database has schema {schema.HEAD}")


def test_upgrade_says_from_where_to_where(penstock: Any, made: Path, capfd: Any) -> None:
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert penstock("db", "upgrade").status == 1
    assert "has schema 9999; this Penstock knows no further than" in capfd.readouterr().err
    made.unlink()
    done = penstock("db", "upgrade", "-o", "json")
    assert (done.json["schema_now"], done.json["schema_then"]) == (None, schema.HEAD)
    made.unlink()
    assert ", in place of none." in penstock("db", "upgrade").stderr


def test_check_tells_by_its_exit_status(penstock: Any, made: Path) -> None:
    done = penstock("db", "check")
    assert done.status == 1  # no server was here yet: there is no secret, and no stack
    assert "secret.key cannot be read" in done.stdout
    assert "It is NOT sound." in done.stderr
    assert penstock("db", "check", "--deep", "-o", "json").json["rows"] == 0


def test_backup_lists_what_it_does_not_hold(penstock: Any, made: Path, home: Path, capfd: Any) -> None:
    done = penstock("db", "backup", str(home / "a.db"))
    assert (done.status, str(home / "secret.key") in done.stdout) == (0, True)
    assert penstock("db", "backup", str(home / "a.db")).status == 1
    assert "never takes the place of anything" in capfd.readouterr().err
    assert penstock("db", "backup", "-o", "json", str(home / "b.db")).json["schema"] == schema.HEAD
    assert penstock("db", "backup", "--", str(home / "--c.db")).status == 0


@pytest.mark.parametrize("from_stdin", [False, True])
def test_move_and_its_rehearsal(penstock: Any, made: Path, home: Path, from_stdin: bool, capfd: Any) -> None:
    target = f"sqlite:///{home / 'b.db'}"
    given: dict[str, Any] = {"stdin": f"{target}\n"} if from_stdin else {}
    argument = "-" if from_stdin else target
    assert "this was a rehearsal" in penstock("db", "move", "--dry-run", argument, **given).stderr
    assert made.exists()
    done = penstock("db", "move", argument, **given)
    assert (done.status, "penstock.db.moved now" in done.stderr) == (0, True)
    assert penstock("db", "check").status == 1
    assert "was moved into another one" in capfd.readouterr().err


def test_move_needs_an_address(penstock: Any, made: Path) -> None:
    assert penstock("db", "move", "-", stdin="\n").status == 2


def test_move_is_refused_while_a_server_runs(penstock: Any, made: Path, home: Path, capfd: Any) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, home / "server.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert penstock("db", "move", f"sqlite:///{home / 'b.db'}").status == 1
        assert "server of this home is running" in capfd.readouterr().err
        assert not (home / "b.db").exists()
        holder.communicate("\n")
