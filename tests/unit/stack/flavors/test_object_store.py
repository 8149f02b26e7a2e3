"""What an artifact store in a bucket does beyond the contract: options, parts, forked processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from penstock.errors import ArtifactError, InvalidInput, Unavailable
from penstock.ids import digest_of
from penstock.model.stack import Component
from penstock.stack.flavors import object_services, object_store
from penstock.stack.flavors.object_store import ObjectStore
from penstock.stack.registry import build
from tests.object_servers import (
    BIG,
    BUCKET,
    SCHEMES,
    FaultyProxy,
    S3Server,
    Server,
    own,
    running,
)

ABSENT = "0" * 64


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "pointer"),
        [
            ({"url": "http://bucket/prefix"}, "/url"),
            ({"url": "bucket/prefix"}, "/url"),
            ({"url": "s3://"}, "/url"),
            ({"url": "s3://key:hidden@bucket/prefix"}, "/url"),
            ({"url": "s3://bucket/prefix?secret=hidden"}, "/url"),
            ({"url": "gs://bucket/../other"}, "/url"),
            ({"url": "s3://bucket", "endpoint": "127.0.0.1:9000"}, "/endpoint"),
            ({"url": "s3://bucket", "endpoint": "http://key:hidden@host"}, "/endpoint"),
            ({"url": "s3://bucket", "credentials": "hidden"}, "/credentials"),
            ({"url": "s3://bucket", "credentials": {"secret_key": "hidden/+abc"}}, "/credentials/secret_key"),
            ({"url": "az://bucket", "credentials": {"account_key": "hidden=="}}, "/credentials/account_key"),
            ({"url": "gs://bucket", "credentials": {"access_key": "KEY"}}, "/credentials/access_key"),
            ({"url": "s3://bucket", "retry_for": -1}, "/retry_for"),
        ],
    )
    def test_what_cannot_be_is_refused_and_not_repeated(self, options: dict[str, Any], pointer: str) -> None:
        with pytest.raises(InvalidInput) as raised:
            build("artifact_store", Component(flavor="object", options=options))
        assert [one["pointer"] for one in raised.value.errors] == [pointer]
        assert "hidden" not in str(raised.value)

    def test_a_credential_that_the_service_does_not_know_names_those_that_it_does(self) -> None:
        with pytest.raises(InvalidInput, match=r"Did you mean 'secret_key'\? Allowed: access_key, secret_key"):
            ObjectStore("s3://bucket", credentials={"secret": "KEY"})

    def test_a_variable_that_is_not_set_is_named(self) -> None:
        store = ObjectStore("s3://bucket", credentials={"access_key": "NOT_SET_1", "secret_key": "NOT_SET_2"})
        with pytest.raises(Unavailable, match=r"NOT_SET_1 \(for 'access_key'\), NOT_SET_2 \(for 'secret_key'\)"):
            store.put(b"data")

    def test_nothing_is_imported_before_the_first_use(self) -> None:
        script = (
            "import sys\n"
            "from penstock.model.stack import Component\n"
            "from penstock.stack.registry import build\n"
            "for url in ('s3://b', 'gs://b', 'az://b'):\n"
            "    build('artifact_store', Component(flavor='object', options={'url': url}))\n"
            "packages = {'fsspec', 's3fs', 'gcsfs', 'adlfs', 'asyncio', 'aiohttp', 'botocore', 'azure', 'google'}\n"
            "assert not packages & set(sys.modules), packages & set(sys.modules)\n"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0

    @pytest.mark.parametrize(
        ("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")]
    )
    def test_a_package_that_is_missing_is_named_with_its_extra(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(Unavailable, match=rf"'{package}'.*pip install 'penstock\[{extra}\]'"):
            ObjectStore(f"{scheme}://bucket").exists(ABSENT)


class TestBlobs:
    def test_the_layout_is_the_digest(self, s3: S3Server) -> None:
        digest, _ = ObjectStore(**s3.options("one/two")).put(b"data")
        assert s3.request("GET", f"/{BUCKET}/one/two/sha256/{digest[:2]}/{digest[2:]}") == b"data"

    def test_a_whole_bucket(self) -> None:
        with own("s3") as server:
            store = ObjectStore(**server.options("") | {"url": f"s3://{BUCKET}"})
            server.overwrite("sha256/README", b"not a blob")
            server.overwrite("sha256/ab/README", b"nor this")
            server.overwrite("other/file", b"nor this")
            assert list(store.digests()) == []
            digest, _ = store.put(b"data")
            assert list(store.digests()) == [digest]

    def test_a_big_file_goes_and_comes_in_parts(self, server: Server, big: Path, tmp_path: Path) -> None:
        store = ObjectStore(**server.options())
        digest, size = store.put(big)
        assert (digest, size) == (digest_of(big.read_bytes()), BIG)
        store.fetch(digest, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == store.get(digest) == big.read_bytes()

    def test_big_bytes_go_in_parts(self, server: Server, big: Path) -> None:
        store = ObjectStore(**server.options())
        digest, _ = store.put(big.read_bytes())
        with store.open(digest) as blob:
            assert blob.read(10) == big.read_bytes()[:10]
            assert blob.read() == big.read_bytes()[10:]

    def test_a_reader_asks_for_big_parts(self, through: ObjectStore, proxy: FaultyProxy, big: Path) -> None:
        digest, _ = through.put(big)
        readings: list[Callable[[BinaryIO], bytes]] = [
            lambda blob: blob.read(),
            lambda blob: blob.read(10) + blob.read(),
            lambda blob: b"".join(iter(lambda: blob.read(10_000), b"")),
            b"".join,
        ]
        for reading in readings:
            proxy.requests.clear()
            with through.open(digest) as blob:
                assert digest_of(reading(blob)) == digest
            assert len(proxy.requests) <= 1 + 4

    def test_what_is_there_is_not_sent_again(self, through: ObjectStore, proxy: FaultyProxy, big: Path) -> None:
        digest, _ = through.put(big)
        proxy.requests.clear()
        assert through.put(big)[0] == digest
        [request] = proxy.requests
        assert request.startswith("HEAD ")

    def test_writers_of_the_same_at_the_same_time(self, server: Server, big: Path) -> None:
        options = server.options()
        start = threading.Barrier(3)

        def write(_: int) -> str:
            start.wait()
            return ObjectStore(**options).put(big)[0]

        with ThreadPoolExecutor(3) as pool:
            digests = set(pool.map(write, range(3)))
        [digest] = digests
        assert digest_of(ObjectStore(**options).get(digest)) == digest

    def test_nobody_sees_it_before_the_end(self, through: ObjectStore, proxy: FaultyProxy, big: Path) -> None:
        digest = digest_of(big.read_bytes())
        seen = []

        def look(request: str, number: int) -> None:
            if request.startswith("POST") and "uploads" not in request:
                seen.append(others.exists(digest))

        others = ObjectStore(through._url, proxy._server.endpoint, through._place.credentials)
        proxy.fault = look
        through.put(big)
        assert seen == [False]
        assert others.exists(digest)

    def test_a_file_that_changes_meanwhile_is_not_stored(
        self, through: ObjectStore, proxy: FaultyProxy, s3: S3Server, big: Path
    ) -> None:
        def change(request: str, number: int) -> None:
            if "partNumber=1&" in request:
                with big.open("r+b") as file:
                    file.seek(BIG - 5)
                    file.write(b"other")

        proxy.fault = change
        with pytest.raises(ArtifactError, match="changed while it was stored"):
            through.put(big)
        assert list(through.digests()) == []
        assert b"<Upload>" not in s3.unfinished()

    def test_a_blob_larger_than_memory_passes(self, s3: S3Server, tmp_path: Path) -> None:
        source = tmp_path / "huge"
        with source.open("wb") as file:
            file.truncate(100_000_000)
            file.write(os.urandom(1000))
        script = (
            "import json, resource, sys\n"
            "from pathlib import Path\n"
            "from penstock.stack.flavors.object_store import ObjectStore\n"
            "store = ObjectStore(**json.loads(sys.argv[1]))\n"
            "store.put(bytes(9_000_000))\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "digest, size = store.put(Path(sys.argv[2]))\n"
            "store.fetch(digest, Path(sys.argv[2] + '.back'))\n"
            "print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        )
        command = [sys.executable, "-c", script, json.dumps(s3.options()), str(source)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        size, more_kilobytes = map(int, said.split())
        assert size == (tmp_path / "huge.back").stat().st_size == 100_000_000
        assert more_kilobytes < 64 * 1024


class TestProcesses:
    def test_a_forked_process_has_its_own_connection(self, server: Server) -> None:
        store = ObjectStore(**server.options())
        before, _ = store.put(b"parent")
        store._locks[os.getpid()].acquire()  # as if another thread were just connecting

        def child() -> None:
            assert store.get(before) == b"parent"
            store.put(b"child")

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        assert store.get(digest_of(b"child")) == b"child"
        assert store.put(b"parent again")

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_what_a_child_drops_stays_with_its_parent(self, scheme: str) -> None:
        script = (
            "import gc, json, os, sys, time\n"
            "from penstock.stack.flavors.object_store import ObjectStore\n"
            "inherited = [ObjectStore(**json.loads(sys.argv[1]))]\n"
            "digest, _ = inherited[0].put(b'parent')\n"
            "if not os.fork():\n"
            "    inherited.clear()\n"
            "    gc.collect()\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "begin = time.monotonic()\n"
            "inherited[0].get(digest)\n"
            "print(time.monotonic() - begin)\n"
        )
        command = [sys.executable, "-c", script, json.dumps(running(scheme).options())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert float(ended.stdout) < 10  # and not only when the wait for an answer was over

    def test_a_child_of_a_child(self, s3: S3Server) -> None:
        store = ObjectStore(**s3.options())
        fork = multiprocessing.get_context("fork")

        def child() -> None:
            store.put(b"child")
            process = fork.Process(target=store.put, args=(b"grandchild",))
            process.start()
            process.join(30)
            assert process.exitcode == 0

        process = fork.Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        assert sorted(store.digests()) == sorted(map(digest_of, (b"child", b"grandchild")))

    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("end", ["pass", "del store", "os.fork() and os.wait()"])
    def test_python_ends_without_waiting_or_noise(self, scheme: str, end: str) -> None:
        script = (
            "import json, os, sys\n"
            "from penstock.stack.flavors.object_store import ObjectStore\n"
            "store = ObjectStore(**json.loads(sys.argv[1]))\n"
            f"store.put(b'data')\n{end}\n"
        )
        command = [sys.executable, "-c", script, json.dumps(running(scheme).options())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=30)
        if "fork" not in end:
            assert ended.stderr == b""

    def test_threads_connect_once(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        monkeypatch.setattr(object_store, "connect", lambda place: made.append(place) or object_services.connect(place))
        store = ObjectStore(**s3.options())
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(store.put, (str(number).encode() for number in range(16))))
        assert len(made) == 1
