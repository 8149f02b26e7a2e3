"""What happens to every request before it is routed: a bound on its body, and a little patience with curl."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import PenstockError, TooLarge
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
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        limit = next(size for prefix, size in self._limits if path.startswith(prefix))
        too_large = TooLarge(f"The body is larger than the {limit} bytes that this address takes.")
        if _declared(scope) > limit:
            await _refuse(too_large, scope, receive, send)
            return
        _call_json_json(scope, path)
        read, begun = 0, False

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _Refused(too_large)
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, bounded, watched)
        except _Refused as refused:
            if not begun:
                await _refuse(refused.error, scope, receive, send)


class _Refused(BaseException):
    """A body grew over its limit. Not an `Exception`: what reads bodies must not take it for bad input."""

    def __init__(self, error: PenstockError) -> None:
        super().__init__(error.detail)
        self.error = error


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _call_json_json(scope: Scope, path: str) -> None:
    """`curl -d '{...}'` says that its body is a form; only the login takes forms, so elsewhere it can only mean JSON.

    A web page cannot use this to act for somebody: a cookie authorises nothing without a header that a form cannot set.
    """
    headers = scope["headers"]
    if path != _LOGIN and any(name == b"content-type" and value.startswith(_FORM) for name, value in headers):
        scope["headers"] = [
            (name, b"application/json" if name == b"content-type" else value) for name, value in headers
        ]


async def _refuse(error: PenstockError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = response(error, scope["path"])
    answer.headers["Connection"] = "close"  # the rest of the body is not read
    await answer(scope, receive, send)
