"""The database of an installation and what belongs to it: whether all is sound, copied while it is used, moved elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from penstock.control import audit
from penstock.control.bell import Bell
from penstock.control.installation import Installation, now
from penstock.control.stacks import DEFAULT
from penstock.control.tokens import Signer
from penstock.errors import NotFound, PenstockError
from penstock.model.database import Backup, Besides, Condition, Flaw, Move, Part
from penstock.model.stack import Component
from penstock.settings import Settings
from penstock.stack.contracts import ArtifactStore
from penstock.store import backups, code, databases, moves, schema, stacks
from penstock.store.databases import Whole
from penstock.store.session import Database
from penstock.version import VERSION

Open = Callable[[Component], ArtifactStore]

_CHUNK = 1024 * 1024


def check(settings: Settings, artifact_store: Open, *, deep: bool = False) -> Condition:
    """Look at everything, and change nothing; a server may go on meanwhile.

    With `deep` every artifact is read, too. Raises `NotFound` where there is no database.
    """
    url = settings.database
    if not databases.is_there(url):
        raise NotFound(f"There is no database {databases.shown(url)} yet.")
    found: list[Flaw] = []
    looked: list[Part] = ["schema"]
    rows = 0
    with databases.looked_at(url) as whole:
        at = whole.stamp()
        if at != schema.HEAD:
            found.append(_other_schema(at))
        else:
            looked += ["integrity", "references"]
            found += whole.flaws()
        if at == schema.HEAD and not any(flaw.part in ("schema", "integrity") for flaw in found):
            looked += ["values", "audit", "code", "artifacts"]
            rows = whole.count()
            found += whole.unreadable()
            found += _audit(settings)
            found += _code(whole, settings.shared_directory / "code")
            found += _artifacts(whole, settings, artifact_store, deep=deep)
    return Condition(
        database=databases.shown(url),
        release=VERSION,
        schema_now=at,
        schema_then=schema.HEAD,
        looked_at=tuple(looked),
        rows=rows,
        flaws=tuple(found),
    )


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy the database into a new file while it is used. Raises what `store.backups.back_up` raises."""
    url = settings.database
    if not databases.is_there(url):
        raise NotFound(f"There is no database {databases.shown(url)} yet.")
    at = backups.back_up(url, target)
    return Backup(
        database=databases.shown(url),
        target=str(target),
        size=target.stat().st_size,
        schema=at,
        besides=tuple(_besides(settings)),
    )


def move(settings: Settings, target: str, *, dry_run: bool = False) -> Move:
    """Take everything along into another database. Raises what `store.moves.move` raises."""
    url = settings.database
    if not databases.is_there(url):
        raise NotFound(f"There is no database {databases.shown(url)} yet.")
    rows, left = moves.move(url, target, dry_run=dry_run)
    return Move(
        source=databases.shown(url),
        target=databases.shown(target),
        rows=rows,
        dry_run=dry_run,
        set_aside=None if left is None else str(left),
    )


def _other_schema(at: str | None) -> Flaw:
    if at is None:
        return Flaw(severity="broken", part="schema", message="There is no schema of Penstock in it.")
    if at not in schema.known():
        told = (
            f"It has schema {at}, of a newer Penstock: this one knows no further than {schema.HEAD}. Use the newer one."
        )
        return Flaw(severity="broken", part="schema", message=told)
    told = (
        f"It has schema {at}, and this release {schema.HEAD}: `penstock db upgrade` brings it there; look again then."
    )
    return Flaw(severity="attention", part="schema", message=told)


def _code(whole: Whole, directory: Path) -> Iterator[Flaw]:
    for digest, needed in sorted(whole.code_digests().items()):
        try:
            code.read(directory, digest)
        except PenstockError as error:
            consequence = "Restore it, or freeze anew what has it." if needed else "No snapshot has it."
            yield Flaw(
                severity="broken" if needed else "attention", part="code", message=f"{error.detail} {consequence}"
            )


def _artifacts(whole: Whole, settings: Settings, artifact_store: Open, *, deep: bool) -> Iterator[Flaw]:
    """The blobs that are not there, and with `deep` those that are not what they were."""
    try:
        store = artifact_store(_component(settings))
        yield from databases.told("artifacts", _lost(store, whole.blobs(), deep=deep))
    except PenstockError as error:
        yield Flaw(
            severity="broken", part="artifacts", message=f"The artifact store could not be asked: {error.detail}"
        )


def _lost(store: ArtifactStore, blobs: Iterator[tuple[str, str]], *, deep: bool) -> Iterator[str]:
    for digest, called in blobs:
        if not store.exists(digest):
            yield f"{called} is missing (blob {digest})."
        elif deep and _digest(store, digest) != digest:
            yield f"{called} is damaged (blob {digest})."


def _digest(store: ArtifactStore, digest: str) -> str:
    found = hashlib.sha256()
    with store.open(digest) as reader:
        while chunk := reader.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _component(settings: Settings) -> Component:
    """The artifact store of this installation."""
    db = Database(settings.database)
    try:
        with db.read() as session:
            return stacks.get(session, DEFAULT).components["artifact_store"]
    finally:
        db.close()


def _audit(settings: Settings) -> Iterator[Flaw]:
    try:
        secret = (settings.shared_directory / "secret.key").read_bytes()
    except OSError as error:
        told = f"The chain cannot be verified: {settings.shared_directory / 'secret.key'} cannot be read ({error.strerror}). Restore it."
        yield Flaw(severity="broken", part="audit", message=told)
        return
    db = Database(settings.database)
    here = Installation(
        settings=settings, db=db, bell=Bell(), signer=Signer(secret), address="", owner="check", started=now()
    )
    try:
        verdict = audit.look(here)
    finally:
        db.close()
    if not verdict.intact:
        told = f"The audit log was changed: entry {verdict.broken_at}: {verdict.reason}."
        yield Flaw(severity="broken", part="audit", message=told)


def _besides(settings: Settings) -> Iterator[Besides]:
    home = settings.shared_directory
    yield Besides(
        where=str(home / "secret.key"),
        what="signs tokens, callbacks and the audit log: keep it apart from the database",
    )
    yield Besides(where=str(home / "code"), what="code archives of snapshots")
    yield Besides(where=_place(settings), what="what artifacts hold")
    yield Besides(where=str(home / "secrets"), what="encrypted secrets of steps, if there are any")
    yield Besides(where=str(home / "secrets.key"), what="the key of these secrets: keep it apart from them")


def _place(settings: Settings) -> str:
    with suppress(PenstockError):
        options = _component(settings).options
        return str(options.get("path") or options.get("url"))
    return str(settings.shared_directory / "artifacts")
