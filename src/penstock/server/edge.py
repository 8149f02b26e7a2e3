"""What happens to every request before it is routed: a bound on its body, and a little patience with curl."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import TooLarge
from penstock.server.problems import response

_FORM = b"application/x-www-form-urlencoded"
_LOGIN = "/api/v1/login"


class Edge:
    """ASGI middleware. `limits` maps a prefix of paths to the largest body there; the empty prefix is for all others.

    FastAPI has a limit of its own, which answers in plain text; here every error is a problem document.
    """

    def __init__(self, app: ASGIApp, *, limits: dict[str, int]) -> None:
        self._app = app
        self._limits = sorted(limits.items(), key=lambda item: -len(item[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too large, and hand the rest on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next(size for prefix, size in self._limits if scope["path"].startswith(prefix))
        if _declared(scope) > limit:
            await _refuse(limit, scope, receive, send)
            return
        _call_json_json(scope)
        read, begun = 0, False

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _Overrun
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, bounded, watched)
        except _Overrun:
            if not begun:
                await _refuse(limit, scope, receive, send)


class _Overrun(BaseException):
    """A body grew over its limit. Not an `Exception`: what reads bodies must not take it for bad input."""


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _call_json_json(scope: Scope) -> None:
    """`curl -d '{...}'` says that its body is a form; only the login takes forms, so elsewhere it can only mean JSON.

    A web page cannot use this to act for somebody: nothing is authorised by a cookie, only by a header that a form
    cannot set.
    """
    headers = scope["headers"]
    if scope["path"] != _LOGIN and any(name == b"content-type" and value.startswith(_FORM) for name, value in headers):
        scope["headers"] = [
            (name, b"application/json" if name == b"content-type" else value) for name, value in headers
        ]


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    answer = response(TooLarge(f"The body is larger than the {limit} bytes that this address takes."), scope["path"])
    answer.headers["Connection"] = "close"  # the rest of the body is not read
    await answer(scope, receive, send)
