"""The receiver of callbacks: notes who it was told of, with the name that each message carries."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from penstock.drill.records import Heard, History


class Receiver:
    """Listens at `url`, and answers everything at once."""

    def __init__(self, history: History) -> None:
        self._server = _Listener(history)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/told"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, history: History) -> None:
        self.history = history
        super().__init__(("127.0.0.1", 0), _Message)

    def handle_error(self, request: object, client_address: object) -> None:
        """A server that was killed in the middle of a message has said nothing."""


class _Message(BaseHTTPRequestHandler):
    server: _Listener

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        run = told["data"]
        message = self.headers["webhook-id"]
        heard = Heard(run_id=run["id"], state=run["state"], message=message, at=time.monotonic())
        self.server.history.add(heard)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody needs a line for each."""
