from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penstock.client.transport import Transport
from penstock.errors import PenstockError, ServerUnreachable

BLOCK = bytes(1_000_000)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/api/v1/big":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(100 * len(BLOCK)))
        self.end_headers()
        for _ in range(100):
            self.wfile.write(BLOCK)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Transport]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Transport(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def test_blocks_of_a_big_answer_take_no_memory() -> None:
    with serving() as transport:
        tracemalloc.start()
        try:
            assert sum(map(len, transport.blocks("/big"))) == 100 * len(BLOCK)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


def test_blocks_of_an_error_are_the_error() -> None:
    with serving() as transport, pytest.raises(PenstockError, match="404"):
        next(transport.blocks("/small"))


def test_blocks_of_nobody() -> None:
    with pytest.raises(ServerUnreachable):
        next(Transport("http://127.0.0.1:1").blocks("/big"))
