"""Each ill of the network does to a connection what it says, and nothing once it is mended."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from penstock.drill.proxy import Ill, Proxy
from tests.ports import new_port


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.server.heard.append(line)  # type: ignore[attr-defined]
            self.wfile.write(line.upper())


class Upstream(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard: list[bytes] = []


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def network(upstream: Upstream) -> Iterator[Proxy]:
    proxy = Proxy(upstream.server_address[1])
    yield proxy
    proxy.close()


def asked(network: Proxy, text: bytes = b"word\n", timeout: float = 5.0) -> bytes:
    """What comes back for this; an error if the connection breaks."""
    with socket.create_connection(("127.0.0.1", network.port), timeout) as line:
        line.sendall(text)
        answer = line.makefile("rb").readline()
        if not answer:
            raise ConnectionResetError
        return answer


def test_a_healthy_network_passes_everything_on(network: Proxy) -> None:
    assert asked(network) == b"WORD\n"
    assert asked(network, b"x" * 200_000 + b"\n") == b"X" * 200_000 + b"\n"


@pytest.mark.parametrize(("ill", "arrives"), [(Ill.REFUSE, False), (Ill.RESET, False), (Ill.SWALLOW, True)])
def test_what_breaks_a_connection(network: Proxy, upstream: Upstream, ill: Ill, arrives: bool) -> None:
    network.fall_ill(ill)
    with pytest.raises(OSError):  # noqa: PT011 - reset, aborted, broken pipe: whatever the kernel calls it
        asked(network)
    assert bool(upstream.heard) is arrives
    network.fall_ill(Ill.NOTHING)
    assert asked(network) == b"WORD\n"


def test_a_stall_ends_when_it_is_mended(network: Proxy) -> None:
    network.fall_ill(Ill.STALL)
    with pytest.raises(TimeoutError):
        asked(network, timeout=0.2)
    mend = threading.Timer(0.2, network.fall_ill, [Ill.NOTHING])
    mend.start()
    assert asked(network) == b"WORD\n"
    mend.join()


def test_a_drip_is_slow_and_whole(network: Proxy) -> None:
    network.fall_ill(Ill.DRIP)
    began = time.monotonic()
    assert asked(network, b"x" * 640 + b"\n") == b"X" * 640 + b"\n"
    assert time.monotonic() - began > 0.2


def test_where_nobody_listens_the_connection_breaks(upstream: Upstream) -> None:
    proxy = Proxy(new_port())
    with pytest.raises(OSError):  # noqa: PT011 - whatever the kernel calls it
        asked(proxy)
    proxy.close()
