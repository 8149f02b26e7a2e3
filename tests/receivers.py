"""Receivers of callbacks: real HTTP servers in threads of the test."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def checked(self, secret: str) -> Any:
        """The content, if the signature is good: checked by the library that receivers use, which raises otherwise."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """What came, and what is answered: `answer` gives the status and the headers for the nth request (from 0)."""

    answer: Callable[[int], tuple[int, dict[str, str]]] = lambda _: (204, {})
    received: list[Received] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, request: Received) -> int:
        with self.lock:
            self.received.append(request)
            return len(self.received) - 1


@contextmanager
def receiver(
    answer: Callable[[int], tuple[int, dict[str, str]]] = lambda _: (204, {}), *, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """A receiver on a port of this machine, for as long as the block runs."""
    desk = Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            number = desk.keep(Received(self.path, headers, body))
            status, more = desk.answer(number)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  (the name that the server calls)

        def log_message(self, *_: object) -> None:
            """A test says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """Whoever hung up is looked for elsewhere."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    desk.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
