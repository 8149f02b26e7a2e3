"""Under which names this server may be called: a page of a foreign name that points here (DNS rebinding) is turned away."""

from __future__ import annotations

import ipaddress
import re
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.errors import MalformedRequest, Misdirected, PenstockError
from penstock.server.problems import response
from penstock.settings import Settings, listed

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::[0-9]{1,5})?")

_ONCE = frozenset((b"host", b"authorization", b"content-length", b"content-type", b"transfer-encoding", b"cookie"))
"""Headers that stand once or not at all: of two, each part of a chain of servers could believe another one."""


class Hosts:
    """ASGI middleware. `doors` are the paths of sockets of this machine, which no web page can reach."""

    def __init__(self, app: ASGIApp, *, settings: Settings, doors: frozenset[str]) -> None:
        self._app = app
        self._names = {
            "localhost",
            settings.host.lower(),
            *_own_names(),
            *(one.lower() for one in listed(settings.hosts)),
        }
        self._doors = {(door, None) for door in doors}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what is meant for this server."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await response(refusal, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> PenstockError | None:
        seen: set[bytes] = set()
        host = b""
        for name, value in scope["headers"]:
            if name in _ONCE:
                if name in seen:
                    return MalformedRequest(f"There is more than one {name.decode().title()} header.")
                seen.add(name)
                if name == b"host":
                    host = value
        if scope.get("server") in self._doors:
            return None
        match = _HOST.fullmatch(host)
        if match is None:
            return MalformedRequest("The Host header is missing, or no host.")
        if match[1] is None and not self._known(match[2].decode().lower().removesuffix(".")):
            return Misdirected(
                "This server is not called so. PENSTOCK_HOSTS has the names under which it may be called."
            )
        return None

    def _known(self, name: str) -> bool:
        """An address cannot be rebound: only names can."""
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0]}
