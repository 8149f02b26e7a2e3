"""`python -m penstock.server.databases`: upkeep of the database of a home, whether its server runs or not.

It prints what it found or did as JSON. Exit status 1, and on stderr why, where it could not.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from penstock.control import databases, upgrades
from penstock.errors import NotFound, PenstockError
from penstock.model.stack import Component
from penstock.model.upgrade import Rehearsal
from penstock.server.locks import only_server
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore
from penstock.stack.registry import build
from penstock.store.databases import is_there, refuse_moved
from penstock.store.session import Database


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    options = _parser().parse_args(arguments)
    settings = Settings.load()
    try:
        refuse_moved(settings.database)
        found = _do(settings, options)
    except PenstockError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    except KeyboardInterrupt:  # what was half done is taken back
        return 128 + signal.SIGINT
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


def _do(settings: Settings, options: argparse.Namespace) -> Any:
    match options.verb:
        case "check":
            return databases.check(settings, _artifact_store, deep=options.deep)
        case "backup":
            return databases.back_up(settings, Path(options.target).absolute())
        case "move":
            target = sys.stdin.readline().strip()  # it may hold a password, and others see arguments
            if options.dry_run:
                return databases.move(settings, target, dry_run=True)
            with only_server(settings.home, patience=0):
                return databases.move(settings, target)
        case _:
            return _upgrade(settings, check=options.check)


def _upgrade(settings: Settings, *, check: bool) -> Rehearsal:
    """What this release makes of the database, which is changed only unless this is a `check`."""
    db = Database(settings.database)
    if check and not is_there(settings.database):
        raise NotFound(f"There is no database {db.where} yet.")
    rehearsal = upgrades.rehearse(db, settings.shared_directory / "code")
    if not check:
        db.migrate()
    db.close()
    return rehearsal


def _artifact_store(component: Component) -> ArtifactStore:
    return build("artifact_store", component)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m penstock.server.databases", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("upgrade").add_argument("--check", action="store_true")
    verbs.add_parser("check").add_argument("--deep", action="store_true")
    verbs.add_parser("backup").add_argument("target")
    verbs.add_parser("move", help="its target is read from stdin").add_argument("--dry-run", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
