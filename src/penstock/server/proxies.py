"""Who is at the other end, where proxies stand between: their word counts if they are trusted, nobody else's does."""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.errors import PenstockError
from penstock.settings import listed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """ASGI middleware: sets the client and the scheme as the nearest proxy that is not trusted, or the client, has them.

    `X-Forwarded-For` is read from its end: each proxy has added who called it, and what stands before the first one
    that is not trusted anybody may have written.
    """

    def __init__(self, app: ASGIApp, *, trusted: str) -> None:
        self._app = app
        self._trusted = networks(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request as its first sender made it."""
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            headers = scope["headers"]
            forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
            scope["client"] = (self._first(client[0], forwarded), 0)
            schemes = [value for name, value in headers if name == b"x-forwarded-proto"]
            if schemes and schemes[-1].strip() in (b"http", b"https"):
                scope["scheme"] = schemes[-1].strip().decode()
        await self._app(scope, receive, send)

    def _first(self, peer: str, forwarded: str) -> str:
        for one in reversed(listed(forwarded)):
            try:
                address = str(ipaddress.ip_address(one))
            except ValueError:
                return peer
            peer = address
            if not self._trusts(address):
                break
        return peer

    def _trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)


def networks(text: str) -> list[Network]:
    """The addresses and networks of a setting. Raises `PenstockError` for what is neither."""
    try:
        return [ipaddress.ip_network(one, strict=False) for one in listed(text)]
    except ValueError as error:
        raise PenstockError(f"PENSTOCK_TRUSTED_PROXIES={text!r}: {error}.") from error
