from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.control import artifacts, runs
from penstock.control.artifacts import Notes
from penstock.control.installation import now
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.ids import new_id
from penstock.model.artifact import Artifact, File, Pruned, Use, artifact_digest
from penstock.stack.flavors.file_store import FileStore
from penstock.store import artifacts as stored
from tests.unit.control.conftest import House

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "artifacts")


def an_artifact(store: FileStore, content: bytes, *, age: timedelta = timedelta(), **changes: object) -> Artifact:
    digest, size = store.put(content)
    files = (File(name="value", digest=digest, size=size),)
    record = Artifact(
        id=new_id(),
        digest=artifact_digest(files),
        files=files,
        size=size,
        type="builtins.bytes",
        materializer="binary",
        created=now() - age,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def aged(store: FileStore, artifact: Artifact, age: timedelta) -> None:
    """Have its blobs been stored that long ago."""
    moment = (datetime.now(UTC) - age).timestamp()
    for file in artifact.files:
        os.utime(store._path(file.digest), (moment, moment))


def kept(house: House, store: FileStore, content: bytes, **changes: object) -> Artifact:
    artifact = an_artifact(store, content, **changes)  # type: ignore[arg-type]
    with house.here.db.write() as session:
        return artifacts.register(session, artifact, store)


def prune(house: House, store: FileStore, *, dry_run: bool = False, named: bool = False) -> Pruned:
    return artifacts.prune(house.here, store, older_than=DAY, dry_run=dry_run, named=named)


class TestRegister:
    def test_versions_are_numbered_and_may_be_named(self, house: House, store: FileStore) -> None:
        versions = [None, None, "gold", None, "gold"]
        made = [kept(house, store, b"x", name="model", version=version) for version in versions]
        assert [one.version for one in made] == ["1", "2", "gold", "4", "gold+5"]
        with house.here.db.read() as session:
            assert artifacts.resolve(session, "artifact:model").id == made[4].id
            assert artifacts.resolve(session, "model@gold").id == made[2].id
            assert artifacts.resolve(session, made[0].id).version == "1"

    def test_many_at_once_get_each_its_own_number(self, house: House, store: FileStore) -> None:
        versions: list[str | None] = []

        def register() -> None:
            versions.extend(kept(house, store, b"x", name="model").version for _ in range(10))

        threads = [threading.Thread(target=register) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(int, filter(None, versions))) == list(range(1, 61))

    def test_a_record_without_its_bytes_is_refused(self, house: House, store: FileStore) -> None:
        artifact = an_artifact(store, b"gone")
        store.delete(artifact.files[0].digest, stored_before=now() + DAY)
        with house.here.db.write() as session, pytest.raises(InvalidInput, match="Store the files"):
            artifacts.register(session, artifact, store)
        with house.here.db.write() as session, pytest.raises(InvalidInput, match="does not fit"):
            artifacts.register(session, replace(an_artifact(store, b"x"), digest="0" * 64), store)

    def test_what_there_is_not_is_told_with_what_is_near(self, house: House, store: FileStore) -> None:
        kept(house, store, b"x", name="model")
        with house.here.db.read() as session:
            for reference, near in (("modle", "model"), ("artifact:model@2", "model@1")):
                with pytest.raises(NotFound) as caught:
                    artifacts.resolve(session, reference)
                assert caught.value.errors[0]["did_you_mean"] == near

    def test_notes_are_added_and_nothing_else_changes(self, house: House, store: FileStore) -> None:
        artifact = kept(house, store, b"x", name="model", tags=("a",), user_metadata={"n": 1})
        with house.here.db.write() as session:
            artifacts.annotate(session, "model", Notes(user_metadata={"m": 2}, add_tags=["b"], remove_tags=["a"]))
        with house.here.db.read() as session:
            expected = replace(artifact, tags=("b",), user_metadata={"n": 1, "m": 2})
            assert artifacts.resolve(session, "model") == expected


class TestPrune:
    def test_only_what_is_old_unused_and_unnamed_goes(self, daily: House, store: FileStore) -> None:
        run = daily.start().run
        old = [kept(daily, store, str(number).encode(), age=2 * DAY) for number in range(4)]
        named = kept(daily, store, b"named", age=2 * DAY, name="model")
        young = kept(daily, store, b"young")
        shared = kept(daily, store, b"young", age=2 * DAY)  # its bytes belong to a young one as well
        for one in (*old, named, shared):
            aged(store, one, 2 * DAY)
        orphan = store.put(b"of a writer that was killed")[0]
        aged(store, an_artifact(store, b"of a writer that was killed"), 2 * DAY)
        with daily.here.db.write() as session:
            use = Use(artifact_id=old[0].id, run_id=run.id, step="fit", kind="input", name="x")
            stored.note_uses(session, [use])
        rehearsed = prune(daily, store, dry_run=True)
        assert store.exists(orphan)
        pruned = prune(daily, store)
        assert (pruned.artifacts, pruned.blobs) == (4, 4)  # three and the shared record; three blobs and the orphan
        assert pruned == replace(rehearsed, dry_run=False)
        for one in (old[0], named, young):
            assert store.get(one.files[0].digest)
        assert not store.exists(old[1].files[0].digest)
        assert not store.exists(orphan)
        assert prune(daily, store, named=True).artifacts == 1
        assert prune(daily, store, named=True) == Pruned(artifacts=0, blobs=0, bytes=0, dry_run=False)

    def test_when_a_run_is_deleted_what_only_it_had_can_go(self, daily: House, store: FileStore) -> None:
        run = daily.start().run
        artifact = kept(daily, store, b"x", age=2 * DAY, run_id=run.id, step="fit")
        aged(store, artifact, 2 * DAY)
        assert prune(daily, store).artifacts == 0
        with daily.here.db.write() as session, pytest.raises(Conflict, match="cancel it first"):
            runs.delete(session, run.id)
        with daily.here.db.write() as session:
            runs.cancel(session, daily.here, run.id)
            runs.delete(session, run.id)
        with daily.here.db.read() as session:
            assert artifacts.resolve(session, artifact.id).run_id is None
        assert prune(daily, store) == Pruned(artifacts=1, blobs=1, bytes=1, dry_run=False)

    def test_what_is_stored_again_meanwhile_is_never_lost(self, daily: House, store: FileStore) -> None:
        """Writers store what lies there, old and unused, while it is pruned: either they renew it or they write it anew."""
        contents = [bytes([number]) * 100 for number in range(8)]
        for _ in range(15):
            for content in contents:
                aged(store, an_artifact(store, content), 2 * DAY)
            made: list[Artifact] = []

            def write(made: list[Artifact] = made) -> None:
                made.extend(kept(daily, store, content, age=2 * DAY) for content in contents)

            def remove() -> None:
                list(artifacts._blobs(daily.here, store, now() - DAY, set(), dry_run=False))

            threads = [threading.Thread(target=act) for act in (write, remove, write, remove)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(made) == 2 * len(contents)
            for one in made:
                assert store.get(one.files[0].digest) in contents
                aged(store, one, 2 * DAY)
            assert prune(daily, store).artifacts == len(made)
            assert list(store.digests()) == []
