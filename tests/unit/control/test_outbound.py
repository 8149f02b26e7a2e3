"""Requests to addresses that others have given: where they go, what is believed of an answer, and when it is enough."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.control import outbound
from penstock.model.address import LOOPBACK
from penstock.model.callback import Reply
from tests.ports import new_port
from tests.receivers import receiver

PLAIN = ssl.create_default_context()


def post(url: str, *, allowed: Any = LOOPBACK, timeout: float = 5.0, context: ssl.SSLContext = PLAIN) -> Reply:
    return asyncio.run(
        outbound.post(url, b'{"a": 1}', {"webhook-id": "7"}, allowed=allowed, timeout=timeout, context=context)
    )


@contextlib.contextmanager
def talker(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Somebody who reads the head of one request and then says what `talk` says."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            peer, _ = door.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(65536)
                talk(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}/x"
    finally:
        with contextlib.suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join()


def test_what_arrives_is_what_was_sent() -> None:
    with receiver() as desk:
        assert post(f"{desk.url}/a%20b?c=d") == Reply(status=204)
    [came] = desk.received
    assert (came.path, came.body, came.headers["webhook-id"]) == ("/a%20b?c=d", b'{"a": 1}', "7")
    assert came.headers["host"] == desk.url.removeprefix("http://")
    assert came.headers["content-type"] == "application/json"


def test_a_refusal_is_told_with_what_was_asked_for() -> None:
    with receiver(lambda _: (503, {"Retry-After": "120"})) as desk:
        assert post(desk.url) == Reply(status=503, problem="It answered 503.", retry_after="120")


def test_an_address_that_may_not_be_called_is_not_even_knocked_at() -> None:
    with receiver() as desk:
        reply = post(desk.url, allowed=())
        assert "no public address" in str(reply.problem)
        assert desk.received == []


def test_a_name_of_which_one_address_is_not_public_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of a name server is all that is made up here."""
    with receiver() as desk:
        port = int(desk.url.rpartition(":")[2])
        answers = [(2, 1, 6, "", ("93.184.216.34", port)), (2, 1, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
        assert "127.0.0.1 is no public address" in str(post(f"http://mixed.example:{port}/", allowed=()).problem)
        assert desk.received == []


def test_a_name_is_asked_for_once_and_the_checked_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers otherwise the second time (DNS rebinding) is not asked a second time."""
    asked = []
    with receiver() as desk:
        port = int(desk.url.rpartition(":")[2])
        real = socket.getaddrinfo

        def answer(host: str, *rest: Any, **more: Any) -> Any:
            if host != "rebound.example":
                return real(host, *rest, **more)
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        assert post(f"http://rebound.example:{port}/").status == 204
        assert asked == ["rebound.example"]
        assert desk.received[0].headers["host"] == f"rebound.example:{port}"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"x" * 200_000,
        b"HTTP/1.1 200",
    ],
)
def test_what_is_no_answer_is_none(said: bytes) -> None:
    with talker(lambda peer: peer.sendall(said)) as url:
        reply = post(url)
    assert reply.status is None
    assert reply.problem is not None


def test_an_interim_answer_is_not_the_answer() -> None:
    with talker(lambda peer: peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n\r\n")) as url:
        assert post(url).status == 201


@pytest.mark.parametrize("drip", [b"H", b"x: y\r\n"])
def test_a_receiver_that_drips_has_no_more_time_than_others(drip: bytes) -> None:
    def talk(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            peer.sendall(drip)
            time.sleep(0.05)  # slow: the receiver under test

    with talker(talk) as url:
        began = time.monotonic()
        assert post(url, timeout=0.5).problem == "It did not answer in time."
        assert time.monotonic() - began < 3


def test_a_receiver_that_says_nothing_is_given_up() -> None:
    silent = threading.Event()
    with talker(lambda _: silent.wait(5) and None) as url:
        assert post(url, timeout=0.3).problem == "It did not answer in time."
        silent.set()


def test_an_endless_body_is_not_read() -> None:
    sent = 0

    def talk(peer: socket.socket) -> None:
        nonlocal sent
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += peer.send(b"x" * 65536)

    with talker(talk) as url:
        assert post(url).status == 200
    assert sent < 50_000_000


def test_nobody_there_is_told() -> None:
    assert "gave no answer" in str(post(f"http://127.0.0.1:{new_port()}/").problem)


def test_a_name_that_is_none_is_told() -> None:
    assert post("http://nobody.invalid/").problem is not None


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for `name`, signed by itself, and its key."""
    key, at = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(whose, whose, key.public_key(), x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "c.pem", directory / "k.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = serialization.NoEncryption()
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, secret)
    )
    return paths


def test_a_certificate_is_held_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "localhost")
    door = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    door.load_cert_chain(chain, key)
    names: list[str | None] = []
    door.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(chain))
    with receiver(tls=door) as desk:
        named = desk.url.replace("127.0.0.1", "localhost")
        assert post(named, context=trusting).status == 204
        assert names == ["localhost"]
        assert "certificate is not good" in str(post(desk.url, context=trusting).problem)  # of another name
        assert "certificate is not good" in str(post(named).problem)  # of an unknown authority
        assert len(desk.received) == 1
        plain = named.replace("https", "http")
        assert post(plain, timeout=2).status is None


def test_plain_http_is_no_tls() -> None:
    with receiver() as desk:
        assert post(desk.url.replace("http", "https"), timeout=2).status is None


def test_a_name_server_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, real = threading.Event(), socket.getaddrinfo

    def answer(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow.example":
            hanging.wait(20)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    try:
        assert post("http://slow.example/", timeout=0.3).problem == "It did not answer in time."
        with receiver() as desk:
            assert post(desk.url).status == 204
    finally:
        hanging.set()
