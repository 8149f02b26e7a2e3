"""What browsers are told of this server: not to guess, not to frame, not to run; and which pages of others may call it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import PenstockError
from penstock.settings import listed

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", POLICY),
    (b"cache-control", b"no-store"),
)

_HSTS = (b"strict-transport-security", b"max-age=31536000")

CORS_HEADERS = (
    "Authorization",
    "Content-Type",
    "Prefer",
    "Plan-Token",
    "Idempotency-Key",
    "Idempotency-Until",
    "Idempotency-Conflict",
    "Idempotency-Attempt",
    "Last-Event-ID",
    "X-Request-Id",
    "traceparent",
)

CORS_EXPOSED = ("Location", "Retry-After", "Idempotency-Result", "Preference-Applied", "X-Request-Id")


class SafeHeaders:
    """ASGI middleware: every answer carries these headers, unless its route has said something of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add what is missing to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                headers += [one for one in HEADERS if one[0] not in said]
                if scope.get("scheme") == "https":
                    headers.append(_HSTS)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, completed)


def origins(text: str) -> list[str]:
    """The origins of a setting. Raises `PenstockError` for what is none, and for `*`: it would let every page call."""
    found = list(listed(text))
    _refuse(
        one
        for one in found
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?|https?://\[[0-9a-f:]+\](?::\d{1,5})?", one)
    )
    return found


def _refuse(wrong: Iterable[str]) -> None:
    for one in wrong:
        raise PenstockError(
            f"PENSTOCK_ORIGINS: {one!r} is no origin. Give each as scheme://host[:port]; `*` is not taken."
        )
