"""What attackers send, on every address that the running server has: nothing breaks, hangs, or leads outside."""

from __future__ import annotations

import http.client
import io
import json
import random
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import psutil
import pytest

from penstock.ids import digest_of
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site

T = TypeVar("T")

PATIENCE = 30.0
CANARY = "the canary sings"

PATHS = (
    "../" * 12 + "etc/passwd",
    "..",
    ".",
    "...",
    "....//....//etc/passwd",
    "..\\..\\..\\windows\\win.ini",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%c0%af..%c0%afetc/passwd",
    "..%ef%bc%8f..%ef%bc%8fetc",
    "%00",
    "a%00.tar",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "~root",
    "~/.ssh/id_rsa",
    "C:\\boot.ini",
    "C:/boot.ini",
    "\\\\host\\share",
    "．．／．．／etc/passwd",  # noqa: RUF001  (full width)
    "health",
    "ready",
    "metrics",
    "login",
    "openapi.json",
    "a#b",
    "a?b=c",
    "a;b",
    "a b",
    "a\tb",
    "a\nb",
    "a\r\nSet-Cookie: x=y",
    "a\u202eb",
    "a\u0000b",
    "\ufeff",
    "\U0001f600",
    "e\u0301",
    "İ",
    "ß" * 50,
    "x" * 5000,
    "%",
    "%zz",
    "%ff%fe",
    "%ed%a0%80",
    "'",
    '"',
    "' OR 1=1 --",
    "'; DROP TABLE runs; --",
    "$(touch /tmp/penstock-canary)",
    "`id`",
    "{{7*7}}",
    "${7*7}",
    "<script>alert(1)</script>",
    "-1",
    "0",
    "1e999",
    "9" * 400,
    "nan",
    "null",
    "true",
    "[]",
    "{}",
    "@",
    "a@",
    "@v1",
    "a@b@c",
    "a@v99999999999999999999",
    "artifact:",
    "*",
    "\x7f",
)

DEEP = 100_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b"   ",
    "array": b"[]",
    "string": b'"x"',
    "number": b"1",
    "null": b"null",
    "cut off": b'{"parameters": {',
    "two values": b"{}{}",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"parameters":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "deep inside": b'{"parameters": {"number": ' + b"[" * DEEP + b"]" * DEEP + b"}}",
    **{
        f"{depth} deep": b'{"parameters": {"number": ' + b"[" * depth + b"]" * depth + b"}}"
        for depth in (100, 150, 200, 250, 400, 900, 980, 990)
    },
    "twice": b'{"parameters": {"number": 1, "number": 2}}',
    "many and twice": b"{" + b",".join(b'"k%d":0' % n for n in range(60_000)) + b',"z":0,"z":0}',
    "NaN": b'{"parameters": {"number": NaN}}',
    "Infinity": b'{"parameters": {"number": -Infinity}}',
    "too large": b'{"parameters": {"number": 1e400}}',
    "2^63": b'{"parameters": {"number": 9223372036854775808}}',
    "2^64": b'{"parameters": {"number": 18446744073709551616}}',
    "digits": b'{"parameters": {"number": ' + b"9" * 100_000 + b"}}",
    "half a character": b'{"parameters": {"path": "\\ud800"}}',
    "zero": b'{"parameters": {"path": "a\\u0000b"}}',
    "zero in a name": b'{"\\u0000": 1}',
    "mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b'{"parameters": {"path": "\xff\xfe"}}',
    "UTF-16": '{"parameters": {}}'.encode("utf-16"),
    "long name": b'{"' + b"k" * 1_000_000 + b'": 1}',
    "empty name": b'{"": 1}',
    "faked upload": b'{"files": {"f": {"filepath": "/etc/passwd"}}, "__path": "/etc/passwd"}',
    "prototype": b'{"__proto__": {"role": "admin"}, "constructor": {}}',
    "multipart": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
}

HEADERS: dict[str, tuple[str, ...]] = {
    "Prefer": (
        "wait=-1",
        "wait=1e999",
        "wait=nan",
        "wait=" + "9" * 500,
        "wait",
        "wait=0;x",
        "respond-async, wait=a",
        ",,,=",
        "é",
    ),
    "Idempotency-Key": ("x" * 10_000, "é", '"', "a b", "../../x", "'; --", "a\tb"),
    "Idempotency-Until": ("nan", "1e999", "-1", "terminal ", "é"),
    "Idempotency-Conflict": ("x", "é"),
    "Plan-Token": ("x" * 10_000, "a.b.c", "é"),
    "Last-Event-ID": ("-1", "9" * 400, "²", "x"),
    "Accept": ("*/*;q=nan", "x" * 5000, "text/event-stream"),
    "Content-Type": (
        "",
        "application/x-pickle",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=" + "-" * 5000,
        "text/plain",
        "é",
    ),
    "Content-Encoding": ("gzip", "x"),
    "Range": ("bytes=" + ",".join("0-1" for _ in range(5000)), "bytes=5-1", "x=1"),
    "If-None-Match": ("x" * 10_000,),
    "Authorization": (
        "Bearer ",
        "Bearer a.b.c",
        "Bearer " + "x" * 10_000,
        "Basic eDp5",
        "Bearer é",
        "bearer\t",
        "Negotiate x",
    ),
    "Cookie": ("a=b; " * 2000, "é"),
    "X-Request-Id": ("a b", "é", "x" * 5000),
    "X-Forwarded-For": ("127.0.0.1", "x" * 5000, "é"),
    "traceparent": ("00-x", "ff-" + "0" * 32 + "-" + "0" * 16 + "-00", "é"),
}


class Target:
    """The running server and every address of it that its own description has."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = site.key("attacker", "admin")
        parts = urlsplit(site.url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        document = httpx.get(f"{site.url}/api/v1/openapi.json").json()
        self.routes: list[tuple[str, str, dict[str, Any]]] = [
            (verb.upper(), path, found)
            for path, verbs in document["paths"].items()
            for verb, found in verbs.items()
            if path != "/api/v1/server/stop"
        ]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send exactly this path. Whatever comes back must be an answer that the server meant to give, in good time."""
        sent = {
            "Authorization": f"Bearer {self.key}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        begun = time.monotonic()
        try:
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            for name, text in sent.items():
                self._connection.putheader(name, text.encode())
            if body is not None or method in ("POST", "PUT", "PATCH"):
                self._connection.putheader("Content-Length", str(len(body or b"")))
            self._connection.endheaders(body or None)
            answer = self._connection.getresponse()
            text = answer.read() if answer.headers.get_content_type() != "text/event-stream" else b""
        except (http.client.HTTPException, OSError):
            self.close()
            raise
        if answer.headers.get_content_type() == "text/event-stream":
            self.close()
        said = f"{method} {path[:200]} {(body or b'')[:100]!r} {headers}: {answer.status} {text[:300]!r}"
        assert answer.status < 500, said
        assert time.monotonic() - begun < PATIENCE, said
        if answer.status >= 400 and text:
            assert answer.headers["content-type"] == "application/problem+json", said
            assert json.loads(text)["status"] == answer.status, said
        assert answer.headers["x-content-type-options"] == "nosniff", said
        assert CANARY.encode() not in text, said
        assert b"root:x:0" not in text, said
        if answer.status >= 400:  # the record of a run that failed has the trace of its own code, as it should
            assert b"Traceback (most" not in text, said
        return answer.status, text

    def close(self) -> None:
        """Begin the next request on a new connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    home = Path(tempfile.mkdtemp(prefix="pk-"))
    site = Site(home, PENSTOCK_GRACE="0.5").start()
    (home / "canary").write_text(CANARY)
    (home / "code-canary").write_text(CANARY)
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    found = Target(site)
    yield found
    found.close()
    site.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _still_there(target: Target) -> Iterator[None]:
    """After each attack the server is the same process, has not swollen, and works."""
    assert target.site.process is not None
    process = psutil.Process(target.site.process.pid)
    before, files = process.memory_info().rss, process.num_fds()
    yield
    assert target.site.process.poll() is None
    assert process.memory_info().rss - before < 150_000_000
    assert process.num_fds() - files < 60
    assert (target.site.home / "canary").read_text() == CANARY
    assert target.site.ended(target.site.trigger("lab")["id"])["state"] == "completed"
    assert "Traceback" not in (target.site.home / "server.out").read_text()


Some = Callable[[Sequence[T]], Sequence[T]]


@pytest.fixture
def some(request: pytest.FixtureRequest) -> Some[Any]:
    """A third of what it is given, another one each time; with `--full` (`make attacks`) all of it."""
    if request.config.getoption("--full"):
        return lambda everything: everything
    seed = request.config.getoption("--seed") or secrets.randbelow(10**6)
    print(f"seed {seed}: pytest --seed {seed} takes the same again")
    chance = random.Random(seed)
    return lambda everything: chance.sample(everything, -(-len(everything) // 3))


def filled(path: str, text: str) -> str:
    """The path with every name in it replaced."""
    parts = [text if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def name_for(method: str) -> str:
    """Something that is there, unless it would be gone afterwards."""
    return "none" if method == "DELETE" else "lab"


def test_no_path_leads_outside(target: Target, some: Some[str]) -> None:
    for method, path, _ in target.routes:
        if "{" not in path:
            continue
        body = b"{}" if method in ("POST", "PUT", "PATCH") else None
        for text in some(PATHS):
            target.ask(method, filled(path, quote(text, safe="")), body)
            if text.isascii() and text.isprintable() and " " not in text:
                target.ask(method, filled(path, text), body)


def test_no_filter_leads_outside(target: Target, some: Some[str]) -> None:
    for method, path, found in target.routes:
        names = [one["name"] for one in found.get("parameters", ()) if one["in"] == "query"]
        for name in names:
            for text in some(PATHS):
                target.ask(
                    method,
                    f"{filled(path, name_for(method))}?{name}={quote(text, safe='')}",
                    b"{}" if method != "GET" else None,
                )


def test_unknown_methods_are_not_served(target: Target) -> None:
    for path in sorted({path for _, path, _ in target.routes}):
        for method in ("FOO", "TRACE", "OPTIONS", "PROPFIND"):
            try:
                status, _ = target.ask(method, filled(path, "x"))
            except (http.client.HTTPException, ConnectionError):
                continue  # the parser knows no such method: it ends the connection
            assert status in (400, 404, 405), (method, path)


@pytest.mark.parametrize("name", BODIES)
def test_no_body_breaks_it(target: Target, name: str, some: Some[tuple[str, str, dict[str, Any]]]) -> None:
    body = BODIES[name]
    kind = "multipart/form-data; boundary=x" if name == "multipart" else "application/json"
    taking = [one for one in target.routes if "requestBody" in one[2] or one[0] in ("POST", "PUT", "PATCH")]
    for method, path, _ in some(taking):
        target.ask(method, filled(path, name_for(method)), body, Content_Type=kind)


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_breaks_it(target: Target, name: str, some: Some[str]) -> None:
    for method, path, _ in target.routes:
        for text in some(HEADERS[name]):
            if name == "Accept" and text == "text/event-stream" and not path.endswith("/events"):
                continue
            body = b"{}" if method in ("POST", "PUT", "PATCH") else None
            target.ask(method, filled(path, name_for(method)), body, **{name.replace("-", "_"): text})


def test_no_field_leads_outside(target: Target, some: Some[Any]) -> None:
    """Every field of every body, with what does not belong there."""
    hostile = [
        "../../etc/passwd",
        "a\nb",
        "\u0000",
        "\u202e",
        "x" * 5000,
        -1,
        2**70,
        1e300,
        [],
        {},
        [[]],
        None,
        True,
        "",
    ]
    document = httpx.get(f"{target.site.url}/api/v1/openapi.json").json()
    for method, path, found in target.routes:
        content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name in _properties(content.get("schema", {}), document):
            for value in some(hostile):
                target.ask(method, filled(path, name_for(method)), json.dumps({name: value}).encode())


def _properties(schema: dict[str, Any], document: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inner = (_properties(one, document) for one in schema.get("anyOf", ()))
    return set(schema.get("properties", ())).union(*inner)


def archive(*members: tuple[str, bytes, Callable[[tarfile.TarInfo], None] | None]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data, change in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def kind(what: bytes, link: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname, member.size = what, link, 0

    return change


ARCHIVES: dict[str, bytes] = {
    "no archive": b"hello",
    "empty": b"",
    "compressed": b"\x1f\x8b" + b"\0" * 100,
    "cut off": archive(("a.py", b"x" * 5000, None))[:2000],
    "parent": archive(("../a.py", b"x", None)),
    "parent inside": archive(("a/../../b.py", b"x", None)),
    "absolute": archive(("/etc/cron.d/x", b"x", None)),
    "backslash": archive(("..\\a.py", b"x", None)),
    "nothing": archive(("a//b.py", b"x", None)),
    "symbolic link": archive(("a", b"", kind(tarfile.SYMTYPE, "/etc/passwd"))),
    "hard link": archive(("a", b"", kind(tarfile.LNKTYPE, "/etc/passwd"))),
    "link and through it": archive(("a", b"", kind(tarfile.SYMTYPE, "/tmp")), ("a/b", b"x", None)),
    "device": archive(("a", b"", kind(tarfile.CHRTYPE))),
    "pipe": archive(("a", b"", kind(tarfile.FIFOTYPE))),
    "twice": archive(("a.py", b"x", None), ("a.py", b"y", None)),
    "case": archive(("a.py", b"x", None), ("A.py", b"y", None)),
    "composed": archive(("\u00e9.py", b"x", None), ("e\u0301.py", b"y", None)),
    "file and folder": archive(("a", b"x", None), ("a/b", b"y", None)),
    "too many": archive(*((f"{number}.py", b"", None) for number in range(10_001))),
    "control": archive(("a\nb.py", b"x", None)),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_no_archive_is_taken_that_could_not_be_unpacked_safely(target: Target, name: str) -> None:
    data = ARCHIVES[name]
    status, text = target.ask("PUT", f"/api/v1/code/{digest_of(data)}", data, Content_Type="application/x-tar")
    assert status == 422, text
    assert not (target.site.home / "code" / f"{digest_of(data)}.tar").exists()
    assert target.ask("GET", f"/api/v1/code/{digest_of(data)}")[0] == 404


def test_an_archive_under_another_digest_is_not_taken(target: Target) -> None:
    data = archive(("a.py", b"x", None))
    assert target.ask("PUT", f"/api/v1/code/{digest_of(b'other')}", data)[0] == 422
    assert target.ask("PUT", f"/api/v1/code/{digest_of(data)}", data)[0] == 204


def test_a_gigabyte_in_chunks_is_ended_at_the_limit(target: Target) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(1024):
            yield b"x" * (1 << 20)

    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    begun = time.monotonic()
    try:
        status = httpx.post(f"{target.site.url}/api/v1/runs", content=chunks(), headers=headers, timeout=30).status_code
    except httpx.TransportError:  # it was closed while we were still sending
        status = 413
    assert status == 413
    assert time.monotonic() - begun < PATIENCE
