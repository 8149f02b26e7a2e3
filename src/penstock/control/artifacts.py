"""Artifacts: what a reference means, values that no step returned, notes on them, where they stand, and what can go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from penstock.control.installation import Installation, now
from penstock.errors import InvalidInput, NotFound, fault
from penstock.ids import check_name, is_id
from penstock.model.artifact import Artifact, Lineage, Pruned, Use, artifact_digest, check_files, parse_reference
from penstock.stack.contracts import ArtifactStore
from penstock.store import artifacts
from penstock.store.paging import Window
from penstock.store.session import ReadSession, WriteSession

SUGGESTIONS = 50
"""How many names are told to somebody who asks for one that there is not."""

YOUNGEST = timedelta(hours=1)
"""Nothing younger is ever removed: a run under way has written blobs whose records are still to come."""

_PORTION = 100


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is to be noted on an artifact. Metadata under a known name replaces what was there."""

    user_metadata: dict[str, Any] = field(default_factory=dict)
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()


def resolve(rs: ReadSession, reference: str, *, at: str = "") -> Artifact:
    """The artifact that an id, `name`, `name@version` or one of these behind `artifact:` means.

    Raises `NotFound` with the names that are near; the pointer of the mistake is `at`.
    """
    try:
        return artifacts.get(rs, reference)
    except NotFound as error:
        name, version = parse_reference(reference)
        if is_id(name):
            raise
        versions = artifacts.page(rs, Window(size=SUGGESTIONS), name=name).items
        known = [f"{name}@{one.version}" for one in versions] if version else artifacts.names(rs, SUGGESTIONS)
        mistake = fault(at, "There is no such artifact.", allowed=known, given=reference.removeprefix("artifact:"))
        raise NotFound(error.detail, errors=[mistake]) from None


def register(ws: WriteSession, artifact: Artifact, store: ArtifactStore) -> Artifact:
    """Keep the record of a value that no step returned. Its blobs must be in the artifact store already.

    Raises `InvalidInput` for a record that does not fit itself or whose bytes are not there.
    """
    if not is_id(artifact.id) or not artifact.files:
        raise InvalidInput("This is no record of an artifact: its id or its files are not right.")
    check_files(artifact.files)
    if artifact.digest != artifact_digest(artifact.files) or artifact.size != sum(one.size for one in artifact.files):
        raise InvalidInput("The record of the artifact does not fit its files.")
    missing = [one.name for one in artifact.files if not store.exists(one.digest)]
    if missing:
        faults = [fault("/files", f"File '{name}' is not in the artifact store.") for name in missing]
        raise InvalidInput("Store the files of an artifact first.", errors=faults)
    named = replace(
        artifact,
        name=check_name(artifact.name, what="artifact", at="/name") if artifact.name is not None else None,
        tags=_tags(artifact.tags, "/tags"),
    )
    (kept,) = artifacts.insert(ws, [named])
    if kept.run_id is not None:
        place = Use(artifact_id=kept.id, run_id=kept.run_id, step=kept.step or "", kind="output", name=kept.name or "")
        artifacts.note_uses(ws, [place])
    return kept


def annotate(ws: WriteSession, reference: str, notes: Notes) -> Artifact:
    """Note something on an artifact: all that can be changed of one."""
    artifact = resolve(ws, reference)
    tags = [tag for tag in (*artifact.tags, *_tags(notes.add_tags, "/add_tags")) if tag not in notes.remove_tags]
    noted = replace(
        artifact,
        tags=tuple(dict.fromkeys(tags)),
        user_metadata={**artifact.user_metadata, **notes.user_metadata},
    )
    artifacts.annotate(ws, noted)
    return noted


def lineage(rs: ReadSession, reference: str, limit: int) -> Lineage:
    """Where an artifact comes from and where it stands, at most `limit` places."""
    artifact = resolve(rs, reference)
    made_from = []
    if artifact.run_id is not None and artifact.step is not None:
        made_from = [use for use in artifacts.uses_in(rs, artifact.run_id, artifact.step) if use.kind == "input"]
    return Lineage(artifact=artifact, used=tuple(artifacts.uses_of(rs, artifact.id, limit)), made_from=tuple(made_from))


def prune(
    installation: Installation, store: ArtifactStore, *, older_than: timedelta, dry_run: bool, named: bool = False
) -> Pruned:
    """Remove artifacts that stand in no run and then blobs that no artifact has, both older than `older_than`.

    Artifacts with a name stay, unless `named`: people refer to names. What is referred to is never removed, whatever
    happens meanwhile: a record goes only if it stands in no run at that moment, and a blob that a run stores now is
    young from then on, whether it was there before or not. Killed half way, it leaves blobs that nobody refers to, which
    the next time removes.
    """
    before = now() - max(older_than, YOUNGEST)
    gone = 0
    doomed: set[str] = set()
    for portion in _portions(_unused(installation, before, named=named)):
        doomed.update(one.id for one in portion)
        if dry_run:
            gone += len(portion)
            continue
        with installation.db.write() as session:
            gone += artifacts.remove_unused(session, [one.id for one in portion])
    removed = list(_blobs(installation, store, before, doomed if dry_run else set(), dry_run=dry_run))
    return Pruned(artifacts=gone, blobs=len(removed), bytes=sum(removed), dry_run=dry_run)


def _unused(installation: Installation, before: datetime, *, named: bool) -> Iterator[Artifact]:
    after = ""
    while True:
        with installation.db.read() as session:
            portion = artifacts.unused(session, before, after=after)
        if not portion:
            return
        after = portion[-1].id
        yield from (one for one in portion if named or one.name is None)


def _blobs(
    installation: Installation, store: ArtifactStore, before: datetime, doomed: set[str], *, dry_run: bool
) -> Iterator[int]:
    """The sizes of the blobs that go; the records in `doomed` do not count, since they would be gone by then."""
    with installation.db.read() as session:
        kept = artifacts.blobs(session, without=doomed)
    for digest in store.digests():
        size = _removed(store, digest, before, dry_run=dry_run) if digest not in kept else None
        if size is not None:
            yield size


def _removed(store: ArtifactStore, digest: str, before: datetime, *, dry_run: bool) -> int | None:
    """The size of the blob if it is old enough to go; it is gone then, unless this is a rehearsal."""
    try:
        size, stored = store.facts(digest)
    except NotFound:  # another prune was faster
        return None
    gone = stored < before if dry_run else store.delete(digest, stored_before=before)
    return size if gone else None


def _portions(items: Iterator[Any]) -> Iterator[list[Any]]:
    while portion := list(islice(items, _PORTION)):
        yield portion


def _tags(tags: Sequence[str], at: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_name(tag, what="tag", at=at) for tag in tags))
