"""What every artifact store must keep. A new store joins with one line in `STORES`."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.errors import ArtifactError, InvalidInput, NotFound
from penstock.ids import digest_of
from penstock.model.stack import Component
from penstock.stack.contracts import ArtifactStore
from penstock.stack.registry import build
from tests.object_servers import running

ABSENT = "0" * 64


@dataclass(frozen=True)
class Place:
    """A store, how another process makes the same one, and how its medium is damaged."""

    component: Component
    damage: Callable[[str, bytes], None]

    def store(self) -> ArtifactStore:
        return build("artifact_store", self.component)


def in_files(folder: Path) -> Place:
    def damage(digest: str, content: bytes) -> None:
        blob = folder / "store" / "sha256" / digest[:2] / digest[2:]
        blob.unlink()
        blob.write_bytes(content)

    return Place(Component(flavor="file", options={"path": str(folder / "store")}), damage)


def in_bucket(scheme: str) -> Callable[[Path], Place]:
    def place(_: Path) -> Place:
        server = running(scheme)
        options = server.options()

        def damage(digest: str, content: bytes) -> None:
            prefix = options["url"].rpartition("/")[2]
            server.overwrite(f"{prefix}/sha256/{digest[:2]}/{digest[2:]}", content)

        return Place(Component(flavor="object", options=options), damage)

    return place


STORES: dict[str, Callable[[Path], Place]] = {
    "file": in_files,
    "s3": in_bucket("s3"),
    "gs": in_bucket("gs"),
    "az": in_bucket("az"),
}


@pytest.fixture(params=sorted(STORES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return STORES[request.param](tmp_path)


@pytest.fixture
def store(place: Place) -> ArtifactStore:
    return place.store()


def test_it_keeps_the_contract_by_type(store: ArtifactStore) -> None:
    assert isinstance(store, ArtifactStore)


@pytest.mark.parametrize("content", [b"", b"x", b"line\r\n\x00\xff" * 1000])
def test_bytes_come_back_as_they_were(store: ArtifactStore, content: bytes) -> None:
    digest, size = store.put(content)
    assert (digest, size) == (digest_of(content), len(content))
    assert store.exists(digest)
    assert store.get(digest) == content
    with store.open(digest) as blob:
        assert blob.read() == content


def test_a_file_is_stored_by_its_content(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(os.urandom(3_000_001))
    digest, size = store.put(source)
    assert (digest, size) == (digest_of(source.read_bytes()), 3_000_001)
    target = tmp_path / "back"
    store.fetch(digest, target)
    assert target.read_bytes() == source.read_bytes()


def test_fetching_replaces_what_is_there(store: ArtifactStore, tmp_path: Path) -> None:
    digest, _ = store.put(b"new")
    target = tmp_path / "target"
    target.write_bytes(b"something longer")
    store.fetch(digest, target)
    assert target.read_bytes() == b"new"


def test_storing_again_does_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"same")
    assert store.put(b"same") == store.put(b"same") == store.put(tmp_path / "same")
    assert list(store.digests()) == [digest_of(b"same")]


def test_a_blob_has_an_age_and_goes_only_if_it_is_old_enough(store: ArtifactStore) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=5)  # services tell full seconds, by their own clock
    digest, _ = store.put(b"content")
    size, stored = store.facts(digest)
    assert size == 7
    assert begun <= stored <= datetime.now(UTC) + timedelta(seconds=5)
    assert not store.delete(digest, stored_before=begun)
    assert store.get(digest) == b"content"
    assert store.delete(digest, stored_before=datetime.now(UTC) + timedelta(hours=1))
    assert not store.exists(digest)
    assert not store.delete(digest, stored_before=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(NotFound):
        store.facts(digest)
    store.put(b"content")
    assert store.get(digest) == b"content"


def test_a_file_that_is_not_there_is_the_callers_mistake(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put(tmp_path / "nothing")
    assert list(store.digests()) == []


def test_a_blob_that_is_not_there_is_not_found(store: ArtifactStore, tmp_path: Path) -> None:
    assert not store.exists(ABSENT)
    with pytest.raises(NotFound, match=ABSENT):
        store.get(ABSENT)
    with pytest.raises(NotFound):
        store.fetch(ABSENT, tmp_path / "target")
    with pytest.raises(NotFound):
        store.open(ABSENT)
    assert list(tmp_path.glob("**/target*")) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "/etc/passwd", "AB" * 32, "ab" * 31 + "/.", "ab" * 32 + "\n"]
)
def test_what_is_no_digest_is_refused(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    verbs: list[Callable[[], object]] = [
        lambda: store.get(name),
        lambda: store.exists(name),
        lambda: store.open(name),
        lambda: store.fetch(name, tmp_path / "target"),
    ]
    for verb in verbs:
        with pytest.raises(InvalidInput, match="names no blob"):
            verb()


@pytest.mark.parametrize("damaged", [b"datA", b"dat", b"", b"data and more"])
def test_damage_is_reported_and_nothing_wrong_is_given(place: Place, tmp_path: Path, damaged: bytes) -> None:
    store = place.store()
    digest, _ = store.put(b"data")
    place.damage(digest, damaged)
    with pytest.raises(ArtifactError, match=digest):
        store.get(digest)
    target = tmp_path / "target"
    with pytest.raises(ArtifactError, match=digest):
        store.fetch(digest, target)
    assert not target.exists()


def test_a_blob_that_lost_its_end_is_mended_by_storing_it_again(place: Place) -> None:
    store = place.store()
    digest, _ = store.put(b"data")
    place.damage(digest, b"da")
    assert store.put(b"data") == (digest, 4)
    assert store.get(digest) == b"data"


def test_all_digests_are_listed(store: ArtifactStore) -> None:
    assert list(store.digests()) == []
    stored = {store.put(str(number).encode())[0] for number in range(50)}
    assert sorted(store.digests()) == sorted(stored)


def test_another_instance_sees_the_same(place: Place) -> None:
    digest, _ = place.store().put(b"shared")
    assert place.store().get(digest) == b"shared"


def test_threads_that_store_the_same_and_different_things(store: ArtifactStore) -> None:
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for number in range(50):
            content = f"{number}" if thread % 2 else f"{thread} {number}"
            digest, _ = store.put(content.encode())
            assert store.get(digest) == content.encode()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(digest_of(store.get(digest)) == digest for digest in store.digests())
    assert len(list(store.digests())) == 4 * 50 + 50


def _store_numbers(component: Component) -> None:
    store = build("artifact_store", component)
    for number in range(100):
        store.put(str(number).encode())


def test_processes_that_store_the_same(place: Place) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_store_numbers, args=(place.component,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(place.store().digests()) == sorted(digest_of(str(number).encode()) for number in range(100))


_WRITE_FOR_EVER = """
import json
import sys
from pathlib import Path
from penstock.model.stack import Component
from penstock.stack.registry import build

store = build("artifact_store", Component(flavor=sys.argv[1], options=json.loads(sys.argv[2])))
source = Path(sys.argv[3])
for number in range(10**9):
    with source.open("r+b") as file:
        file.write(number.to_bytes(8, "big"))
    print(number, flush=True)
    store.put(source)
"""


def test_a_writer_that_is_killed_leaves_nothing_half(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(20_000_000))
    options = [place.component.flavor, json.dumps(place.component.options), str(source)]
    for announced in (1, 2, 1, 3):
        command = [sys.executable, "-c", _WRITE_FOR_EVER, *options]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ) as writer:
            assert writer.stdout is not None
            for _ in range(announced):
                assert writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
    store = place.store()
    for digest in store.digests():
        target = tmp_path / "copy"
        store.fetch(digest, target)
        assert target.stat().st_size == 20_000_000
