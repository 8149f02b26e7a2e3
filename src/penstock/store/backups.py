"""Copies of a database as it was at one moment, made while others write."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, make_url

from penstock.errors import Conflict, PenstockError
from penstock.store.databases import PATIENCE, file_of, opened, shown, stamp
from penstock.store.failures import translate_file, translate_sqlite


def back_up(url: str, target: Path) -> str | None:
    """Copy the database into the new file `target`, which is there when it is whole and checked; the schema in it.

    Only its owner can read it. It is on the disk when this returns. Raises `Conflict` if there is such a file,
    `StorageFull` if there is no room, `Unavailable` if either place cannot be used; there is no `target` then.
    """
    with opened(url) as connection:
        found = stamp(connection)
    if found is None:
        raise Conflict(f"{shown(url)} is empty: there is nothing to back up.")
    source = file_of(url)
    with _draft(target) as draft:
        if source is None:
            _dump(make_url(url), draft)
        else:
            _copy(source, draft)
    return found


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A file of another name, which gets its own when the block has ended well."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if target.exists():
            raise Conflict(f"{target} is there already: a backup never takes the place of anything. Give another name.")
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield draft
        _sync(draft, os.O_RDONLY)
        os.link(draft, target)  # other than a rename it fails where somebody has made `target` meanwhile
        _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileExistsError:
        raise Conflict(f"{target} was made by somebody else meanwhile.") from None
    except OSError as error:
        raise translate_file(error, target) from error
    finally:
        for left in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                draft.with_name(draft.name + left).unlink()


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy(source: Path, draft: Path) -> None:
    """All in one step: in the write-ahead log it sees one moment, and holds up nobody."""
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as live,
            closing(sqlite3.connect(draft)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            copy.execute("PRAGMA foreign_keys = ON")
            wrong = [row[0] for row in copy.execute("PRAGMA integrity_check(1)") if row[0] != "ok"]
            wrong += [f"a row of '{row[0]}' refers to nothing" for row in copy.execute("PRAGMA foreign_key_check")][:1]
    except sqlite3.Error as error:
        raise translate_sqlite(error, str(source)) from error
    if wrong:
        raise PenstockError(f"The copy of {source} is not sound: {wrong[0]}. `penstock db check` says more.")


def _dump(url: URL, draft: Path) -> None:
    dumped = _run("pg_dump", url, "--format=custom", "--no-owner", f"--file={draft}")
    if dumped is not None:
        raise PenstockError(f"pg_dump could not copy {url.render_as_string(hide_password=True)}: {dumped}")
    unreadable = _run("pg_restore", None, "--list", str(draft))
    if unreadable is not None:
        raise PenstockError(f"What pg_dump has written cannot be read: {unreadable}")


def _run(program: str, url: URL | None, *arguments: str) -> str | None:
    """What the program says if it fails. The password goes through its environment: others see its arguments."""
    found = shutil.which(program)
    if found is None:
        raise PenstockError(
            f"A database of PostgreSQL is copied by its own {program}, which is not on the PATH here. Install the client "
            "programs of the server's version or newer, or back the server up in its own way (base backup, snapshots)."
        )
    environment = dict(os.environ)
    if url is not None:
        if url.password is not None:
            environment["PGPASSWORD"] = str(url.password)
        address = url.set(drivername="postgresql", password=None).render_as_string()
        arguments = (*arguments, f"--dbname={address}")
    done = subprocess.run(
        [found, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stderr.strip()[-2000:]
