"""An artifact store in a bucket, in trouble: servers that are down, slow, full or closed to us, and answers that get lost."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.errors import NotFound, StorageFull, Unavailable
from penstock.ids import digest_of
from penstock.stack.flavors import object_services, object_store
from penstock.stack.flavors.object_store import ObjectStore
from tests.object_servers import (
    BUCKET,
    LOST,
    SCHEMES,
    Cut,
    FaultyProxy,
    S3Server,
    own,
    reply,
    running,
    s3_error,
)
from tests.ports import new_port

ABSENT = "0" * 64


class TestTrouble:
    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_store_that_is_down_is_told_within_bounds(self, scheme: str) -> None:
        running(scheme)
        address = f"http://127.0.0.1:{new_port()}" + ("/devstoreaccount1" if scheme == "az" else "")
        store = ObjectStore(**running(scheme).options("place", endpoint=address, retry_for=0.6))
        begin = time.monotonic()
        with pytest.raises(
            Unavailable, match=rf"{scheme}://penstock/place cannot be reached: .*\(tried [2-6] times.*{address}"
        ):
            store.put(b"data")
        assert 0.1 < time.monotonic() - begin < 5

    def test_pauses_grow_have_jitter_and_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, pauses = [0.0], list[float]()

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        monkeypatch.setattr(object_store.time, "sleep", sleep)
        monkeypatch.setattr(object_store.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(object_store, "connect", lambda place: (_ for _ in ()).throw(ConnectionResetError("no")))
        with pytest.raises(Unavailable, match=r"tried \d+ times, for 10 seconds"):
            ObjectStore("s3://bucket").put(b"data")
        nominal = [min(0.2 * 2**number, 5) for number in range(len(pauses))]
        assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, nominal, strict=True))
        assert len(set(pauses)) == len(pauses)
        assert 3 < sum(pauses) <= 10

    def test_a_store_that_comes_back_in_time_is_no_failure(
        self, through: ObjectStore, proxy: FaultyProxy, big: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                proxy.up()

        monkeypatch.setattr(object_store.time, "sleep", sleep)
        proxy.down()
        digest, _ = through.put(big)
        assert len(pauses) == 3
        assert digest_of(through.get(digest)) == digest

    # The services' packages leave it to the garbage collector to close the connections that the killed server broke.
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_server_that_is_killed_and_started_again_during_puts(self, scheme: str, big: Path) -> None:
        with own(scheme) as server, FaultyProxy(server) as proxy:
            store = ObjectStore(**server.options(endpoint=proxy.endpoint, retry_for=60))
            ended, stored = threading.Event(), list[str]()

            def write() -> None:
                while not ended.is_set():
                    stored.append(store.put(str(len(stored)).encode())[0])

            def wait_for(count: int) -> None:
                deadline = time.monotonic() + 60
                while len(stored) < count:
                    assert not writer.done(), writer.result()
                    assert time.monotonic() < deadline
                    time.sleep(0.01)  # poll: until there are so many

            with ThreadPoolExecutor(1) as pool:
                writer = pool.submit(write)
                wait_for(5)
                server.kill()
                proxy.down()
                server.start()
                proxy.up()
                back = len(stored)
                wait_for(back + 5)
                ended.set()
                writer.result()
            for digest in stored[back + 1 :]:
                assert digest_of(store.get(digest)) == digest
            assert all(digest_of(store.get(digest)) == digest for digest in store.digests())
            gc.collect()  # here, and not in a later test

    def test_only_the_part_that_failed_is_sent_again(self, through: ObjectStore, proxy: FaultyProxy, big: Path) -> None:
        left = [s3_error(500, "InternalError"), s3_error(503, "SlowDown"), None]
        proxy.fault = lambda request, number: left.pop(0) if "partNumber=2&" in request else None
        digest, _ = through.put(big)
        parts = [request.partition("partNumber=")[2][0] for request in proxy.requests if "partNumber=" in request]
        assert parts == ["1", "2", "2", "2", "3"]
        proxy.fault = lambda request, number: None
        assert digest_of(through.get(digest)) == digest

    def test_an_upload_that_cannot_be_ended_is_taken_back(self, s3: S3Server, proxy: FaultyProxy, big: Path) -> None:
        store = ObjectStore(**s3.options(endpoint=proxy.endpoint, retry_for=0.3))
        proxy.fault = lambda request, number: s3_error(500, "InternalError") if "partNumber=3&" in request else None
        with pytest.raises(Unavailable, match=r"InternalError|As the test says"):
            store.put(big)
        assert list(store.digests()) == []
        assert b"<Upload>" not in s3.unfinished()

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_an_answer_that_is_lost_changes_nothing(self, scheme: str, big: Path) -> None:
        server = running(scheme)
        with FaultyProxy(server) as proxy:
            store = ObjectStore(**server.options(endpoint=proxy.endpoint))
            lost = set[str]()

            def lose(request: str, number: int) -> bytes | None:
                if request.startswith("HEAD") or request in lost:
                    return None
                lost.add(request)
                return LOST

            proxy.fault = lose
            small, _ = store.put(b"data")
            digest, _ = store.put(big)
            assert store.get(small) == b"data"
            assert digest_of(store.get(digest)) == digest
            assert len(lost) >= 4

    def test_a_connection_that_breaks_while_reading(
        self, through: ObjectStore, proxy: FaultyProxy, big: Path, tmp_path: Path
    ) -> None:
        digest, _ = through.put(big)

        def cut(request: str, number: int) -> bytes | None:
            if request.startswith("GET") and number % 2:
                return reply(206, b"only a little", {"Content-Length": "8388608"})
            return None

        proxy.fault = cut
        through.fetch(digest, tmp_path / "back")
        assert digest_of((tmp_path / "back").read_bytes()) == digest

    def test_a_fetch_that_fails_leaves_nothing(
        self, s3: S3Server, proxy: FaultyProxy, big: Path, tmp_path: Path
    ) -> None:
        store = ObjectStore(**s3.options(endpoint=proxy.endpoint, retry_for=0.1))
        digest, _ = store.put(big)
        proxy.fault = lambda request, number: s3_error(503, "ServiceUnavailable") if request.startswith("GET") else None
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(Unavailable):
            store.fetch(digest, folder / "target")
        assert list(folder.iterdir()) == []

    def test_a_blob_that_goes_while_it_is_read(self, through: ObjectStore, proxy: FaultyProxy, big: Path) -> None:
        digest, _ = through.put(big)
        with through.open(digest) as blob:
            blob.read(10)
            proxy.fault = lambda request, number: s3_error(404, "NoSuchKey") if request.startswith("GET") else None
            with pytest.raises(NotFound, match=digest):
                blob.read()

    def test_a_server_that_is_slow_is_waited_for(self, through: ObjectStore, proxy: FaultyProxy) -> None:
        waited = threading.Event()
        proxy.fault = lambda request, number: waited.wait(0.3) and None
        digest, _ = through.put(b"data")
        assert through.get(digest) == b"data"

    def test_a_server_that_hangs_is_asked_again(
        self, through: ObjectStore, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(object_services, "_ANSWER", 0.3)
        free = threading.Event()

        def hang(request: str, number: int) -> None:
            if number == 1:
                free.wait(30)
                raise Cut

        proxy.fault = hang
        digest, _ = through.put(b"data")
        free.set()
        assert through.get(digest) == b"data"
        assert len(proxy.requests) > 3

    @pytest.mark.parametrize(
        ("scheme", "status", "body"),
        [
            ("s3", 403, b"<Error><Code>InvalidAccessKeyId</Code><Message>Unknown key.</Message></Error>"),
            ("s3", 401, b""),
            ("gs", 403, b'{"error": {"code": 403, "message": "May not."}}'),
            ("gs", 401, b'{"error": {"code": 401, "message": "Invalid Credentials"}}'),
            ("az", 403, b"<Error><Code>AuthenticationFailed</Code><Message>No.</Message></Error>"),
        ],
    )
    def test_who_is_not_let_in_is_told_at_once(self, scheme: str, status: int, body: bytes) -> None:
        server = running(scheme)
        with FaultyProxy(server) as proxy:
            proxy.fault = lambda request, number: reply(status, body)
            store = ObjectStore(**server.options("place", endpoint=proxy.endpoint))
            with pytest.raises(Unavailable, match=f"{scheme}://penstock/place does not let us in with .*credentials"):
                store.put(b"data")
            assert len(proxy.requests) == 1

    def test_a_wrong_key_is_told_with_the_name_of_its_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WRONG_KEY", "d3Jvbmc=")
        store = ObjectStore(**running("az").options() | {"credentials": {"account_key": "WRONG_KEY"}})
        with pytest.raises(Unavailable, match="does not let us in with the credentials from WRONG_KEY") as raised:
            store.put(b"data")
        assert "d3Jvbmc=" not in str(raised.value)

    def test_no_credentials_at_all(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "nothing"))
        store = ObjectStore(f"s3://{BUCKET}", s3.endpoint)
        with pytest.raises(
            Unavailable, match=r"that this process finds by the provider's own rules: NoCredentialsError"
        ):
            store.put(b"data")

    @pytest.mark.parametrize("value", ["/no/such/hidden.json", "ya29.hidden", '{"type": "hidden"}', '{"hidden'])
    def test_what_is_no_key_is_told_and_not_repeated(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        pytest.importorskip("gcsfs")
        monkeypatch.setenv("KEY_FILE", value)
        with pytest.raises(Unavailable, match="does not let us in with the credentials from KEY_FILE") as raised:
            ObjectStore("gs://bucket", credentials={"service_account": "KEY_FILE"}, retry_for=0).exists(ABSENT)
        assert "hidden" not in str(raised.value)

    def test_queries_of_addresses_are_not_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = ConnectionError("no answer from https://host/path?sig=hidden&x=1 (url='https://host?token=hidden')")
        monkeypatch.setattr(object_store, "connect", lambda place: (_ for _ in ()).throw(error))
        with pytest.raises(Unavailable, match="https://host/path ") as raised:
            ObjectStore("az://bucket", retry_for=0).exists(ABSENT)
        assert "hidden" not in str(raised.value)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_bucket_that_is_missing_is_named(self, scheme: str, big: Path) -> None:
        options = running(scheme).options() | {"url": f"{scheme}://no-such-bucket/place"}
        verbs = [
            lambda store: store.put(b"data"),
            lambda store: store.put(big),
            lambda store: store.get(ABSENT),
            lambda store: store.exists(ABSENT),
            lambda store: list(store.digests()),
        ]
        for verb in verbs:
            with pytest.raises(Unavailable, match=r"There is no bucket 'no-such-bucket' at http://127.*Create it"):
                verb(ObjectStore(**options))

    def test_who_may_not_look_at_the_bucket_may_still_use_it(self, through: ObjectStore, proxy: FaultyProxy) -> None:
        bucket = f"HEAD /{BUCKET}"
        proxy.fault = lambda request, number: reply(403, b"", {}) if request.rstrip("/") == bucket else None
        digest, _ = through.put(b"data")
        assert through.get(digest) == b"data"
        assert any(request.rstrip("/") == bucket for request in proxy.requests)

    @pytest.mark.parametrize(
        ("status", "code"),
        [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (400, "XMinioAdminBucketQuotaExceeded")],
    )
    def test_no_room_is_storage_full(
        self, through: ObjectStore, proxy: FaultyProxy, big: Path, status: int, code: str
    ) -> None:
        proxy.fault = lambda request, number: s3_error(status, code) if request.startswith("PUT") else None
        for data in (b"data", big):
            with pytest.raises(StorageFull, match="no room left"):
                through.put(data)
        assert list(through.digests()) == []

    def test_what_the_service_does_not_understand_is_told(self, through: ObjectStore, proxy: FaultyProxy) -> None:
        proxy.fault = lambda request, number: s3_error(400, "InvalidRequest") if request.startswith("PUT") else None
        with pytest.raises(Unavailable, match=r"does not take the request.*As the test says"):
            through.put(b"data")
        assert sum(request.startswith("PUT") for request in proxy.requests) == 1
