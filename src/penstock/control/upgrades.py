"""What this release makes of a database, and of every template that callers reach, before anything is changed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.control import snapshots
from penstock.errors import PenstockError
from penstock.model.template import DEFAULT, LATEST, Template
from penstock.model.upgrade import Checked, Finding, Rehearsal, findings
from penstock.store import code, schema, templates
from penstock.store.paging import LARGEST, Window
from penstock.store.session import Database, ReadSession
from penstock.version import VERSION


def rehearse(db: Database, code_directory: Path) -> Rehearsal:
    """Bring the schema up to this release in a transaction, look at the templates, and take it all back.

    While it lasts, nobody else writes. Raises `PenstockError` if this release cannot have the database at all.
    """
    with db.rehearse() as (session, before):
        checked = tuple(one for template in _all(session) for one in _checked(session, template, code_directory))
    return Rehearsal(release=VERSION, schema_now=before, schema_then=schema.HEAD, checked=checked)


def _all(rs: ReadSession) -> Iterator[Template]:
    cursor = None
    while True:
        page = templates.page(rs, Window(size=LARGEST, cursor=cursor))
        yield from page.items
        cursor = page.next
        if cursor is None:
            return


def _checked(rs: ReadSession, template: Template, code_directory: Path) -> Iterator[Checked]:
    """The versions that callers reach without naming a number."""
    reached: dict[int, list[str]] = {}
    for alias, version in {**template.aliases, LATEST: template.latest.version}.items():
        reached.setdefault(version, []).append(f"{template.name}@{alias}")
    if DEFAULT not in template.aliases:
        reached[template.latest.version].insert(0, template.name)
    else:
        reached[template.aliases[DEFAULT]].insert(0, template.name)
    for number, names in sorted(reached.items()):
        yield Checked(
            template=template.name,
            version=number,
            reached_as=tuple(names),
            findings=tuple(_findings(rs, template, number, code_directory)),
        )


def _findings(rs: ReadSession, template: Template, number: int, code_directory: Path) -> Iterator[Finding]:
    version = template.version(number)
    if version is None:
        yield Finding(severity="broken", message="There is no such version.")
        return
    try:
        snapshot = snapshots.get(rs, version.snapshot_id)
    except (PenstockError, msgspec.DecodeError) as error:
        yield Finding(severity="broken", message=f"Its snapshot cannot be read: {error}. Publish it again.")
        return
    executable = snapshot.content.environment.executable
    yield from findings(
        snapshot,
        template.terms,
        python=platform.python_version(),
        has_code=_has(code_directory, snapshot.content.code),
        has_executable=executable is not None and os.access(executable, os.X_OK),
    )


def _has(code_directory: Path, digest: str | None) -> bool:
    """Whether the code archive is there, whole."""
    if digest is None:
        return False
    try:
        code.read(code_directory, digest)
    except PenstockError:
        return False
    return True
