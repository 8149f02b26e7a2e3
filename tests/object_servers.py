"""Servers of the S3, Google Cloud Storage and Azure APIs, as processes of their own, and a proxy that makes trouble before them.

Google's and Azure's are emulators that need not be installed: what asks for them then skips, with a warning. `make test`
installs Azure's where there is npm (tools/get_azurite.sh).
"""

from __future__ import annotations

import asyncio
import atexit
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from tests.ports import new_port
from tests.skipping import skip_loudly

BUCKET = "penstock"
SCHEMES = ["az", "gs", "s3"]
BIG = 20_000_001
"""The size of a blob that goes in three parts."""
ACCOUNT = "devstoreaccount1"
# Published with the emulator: it opens nothing.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VARIABLES = {"STORE_TEST_ACCESS": "access", "STORE_TEST_SECRET": "secret", "STORE_TEST_ACCOUNT_KEY": ACCOUNT_KEY}


class Server:
    """A server process that can be killed and started again on the same port."""

    scheme = ""
    credentials: ClassVar[dict[str, str] | str] = {}
    signed: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="object-server-"))
        self.port = new_port()
        self.process: subprocess.Popen[bytes] | None = None
        os.environ.update(VARIABLES)

    @classmethod
    def missing(cls) -> str:
        """What is not installed here, or nothing."""
        return ""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def make_bucket(self) -> None:
        raise NotImplementedError

    def overwrite(self, key: str, content: bytes) -> None:
        """Put bytes under a key, past everything that the store does."""
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            log_text = (self.folder / "log").read_text(errors="replace")
            assert self.process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.02)  # poll: until it listens
        self.make_bucket()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def options(self, prefix: str | None = None, endpoint: str | None = None, **more: Any) -> dict[str, Any]:
        """The options of a store in this server's bucket, under a prefix that nobody else has."""
        url = f"{self.scheme}://{BUCKET}/{uuid.uuid4().hex if prefix is None else prefix}"
        return {"url": url, "endpoint": endpoint or self.endpoint, "credentials": self.credentials} | more

    def request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/octet-stream"
    ) -> bytes:
        headers = {"Content-Type": kind} | self.signed
        ask = urllib.request.Request(f"{self.endpoint}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(ask) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 409:  # the bucket of an earlier life
                    raise
            return b""
        return content


class S3Server(Server):
    """moto keeps everything in memory: a new start is an empty bucket."""

    scheme = "s3"
    credentials: ClassVar[dict[str, str] | str] = {"access_key": "STORE_TEST_ACCESS", "secret_key": "STORE_TEST_SECRET"}
    # It wants to see that somebody signed, and does not check who.
    signed: ClassVar[dict[str, str]] = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=access/20200101/us-east-1/s3/aws4_request"
    }

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def make_bucket(self) -> None:
        self.request("PUT", f"/{BUCKET}")

    def overwrite(self, key: str, content: bytes) -> None:
        self.request("PUT", f"/{BUCKET}/{key}", content)

    def unfinished(self) -> bytes:
        """The list of multipart uploads that nobody has ended."""
        return self.request("GET", f"/{BUCKET}?uploads")


_GCS_EMULATOR = """
# The emulator breaks the connection when an upload is empty; Google's servers take it.
import sys
from gcp_storage_emulator import server
from gcp_storage_emulator.__main__ import main

read = server._read_data

def read_even_nothing(handler, query):
    return read(handler, query) or (b"" if "uploadType=media" in handler.path else None)

server._read_data = read_even_nothing
sys.exit(main())
"""


class GCSServer(Server):
    scheme = "gs"
    credentials: ClassVar[dict[str, str] | str] = "anonymous"

    @classmethod
    def missing(cls) -> str:
        packages = {"gcp_storage_emulator": "gcp-storage-emulator", "gcsfs": "gcsfs"}
        return " ".join(name for module, name in packages.items() if importlib.util.find_spec(module) is None)

    def command(self) -> list[str]:
        where = ["start", "--in-memory", "--host", "127.0.0.1", "--port", str(self.port)]
        return [sys.executable, "-c", _GCS_EMULATOR, *where]

    def make_bucket(self) -> None:
        self.request("POST", "/storage/v1/b?project=test", json.dumps({"name": BUCKET}).encode(), "application/json")

    def overwrite(self, key: str, content: bytes) -> None:
        self.request("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(key, safe='')}", content)


class AzureServer(Server):
    scheme = "az"
    credentials: ClassVar[dict[str, str] | str] = {"account_key": "STORE_TEST_ACCOUNT_KEY"}

    @classmethod
    def missing(cls) -> str:
        without = [] if _azurite() else ["azurite (tools/get_azurite.sh)"]
        return " ".join(without + ([] if importlib.util.find_spec("adlfs") else ["adlfs"]))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def command(self) -> list[str]:
        program = _azurite()
        assert program is not None
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder / "data")]
        return [program, *where, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]

    def make_bucket(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        with self._client() as client, suppress(ResourceExistsError):
            client.create_container(BUCKET)

    def overwrite(self, key: str, content: bytes) -> None:
        with self._client() as client:
            client.get_blob_client(BUCKET, key).upload_blob(content, overwrite=True)

    def _client(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.endpoint, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})


def _azurite() -> str | None:
    """The emulator's program: the one that `make test` installed whole, or any that is on the path."""
    home = Path(__file__).parents[1] / ".azurite"
    installed = home / "node_modules/.bin/azurite-blob"
    return str(installed) if (home / ".installed").is_file() else shutil.which("azurite-blob")


KINDS: dict[str, type[Server]] = {"s3": S3Server, "gs": GCSServer, "az": AzureServer}


def running(scheme: str) -> Server:
    """The server of this kind that all tests share; skips the test, loudly, if it is not installed."""
    require(scheme)
    return _shared(scheme)


def require(scheme: str) -> None:
    """Skip the test, loudly, if the server of this kind is not installed."""
    missing = KINDS[scheme].missing()
    if missing:
        skip_loudly(f"artifact stores in {scheme}:// are NOT TESTED here: {missing} is not installed")


@contextmanager
def own(scheme: str) -> Iterator[Server]:
    """A server for one test alone, which may kill it."""
    require(scheme)
    server = KINDS[scheme]()
    try:
        server.start()
        yield server
    finally:
        server.close()


@cache
def _shared(scheme: str) -> Server:
    server = KINDS[scheme]()
    atexit.register(server.close)
    server.start()
    return server


class Cut(Exception):
    """Raised by a fault to break the connection."""


LOST = b"the answer of the server, which nobody gets"
# What becomes of a request: gets its method and target, and how many came before it. It answers, or raises `Cut`, or
# gives `LOST` (the server does it, and the connection breaks), or nothing: the request passes.
Fault = Callable[[str, int], "bytes | None"]


class FaultyProxy:
    """Between a store and its server: passes each request on, unless `fault` answers it or breaks the connection.

    `requests` are those that came, as `METHOD /target`. A fault may be slow: others pass meanwhile.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = new_port()
        self.endpoint = server.endpoint.replace(str(server.port), str(self.port))
        self.requests: list[str] = []
        self.fault: Fault = lambda request, number: None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.down()
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def up(self) -> None:
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._listener = asyncio.run_coroutine_threadsafe(listening, self._loop).result()

    def down(self) -> None:
        """Nobody answers at the address any more."""
        if self._listener is not None:
            self._loop.call_soon_threadsafe(self._listener.close)
            self._listener = None
        while True:  # until the port is closed
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                return

    async def _drain(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(Cut, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.write(await self._answer(reader, writer))
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request, number = first.rpartition(" ")[0], len(self.requests)
        self.requests.append(request)
        answer = await asyncio.to_thread(self.fault, request, number)
        if answer and answer != LOST:
            return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.startswith("HEAD") else answer
        passed = await asyncio.to_thread(self._pass, request, headers, body)
        if answer == LOST:
            raise Cut
        return passed

    def _pass(self, request: str, headers: dict[str, str], body: bytes) -> bytes:
        method, _, target = request.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        except OSError:
            raise Cut from None
        finally:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_THE_CONNECTION]
        if method != "HEAD":
            kept.append(("Content-Length", str(len(content))))
        elif answer.getheader("Content-Length"):
            kept.append(("Content-Length", answer.getheader("Content-Length", "")))
        return reply(answer.status, content, dict(kept))


_OF_THE_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding"}


def reply(status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """An HTTP answer, after which the connection ends."""
    fields = {"Content-Length": str(len(content))} if headers is None else headers
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Whatever')}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode("latin-1") + content


def s3_error(status: int, code: str, message: str = "As the test says.") -> bytes:
    """An error as S3 tells it."""
    xml = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return reply(status, xml.encode())
