"""Bodies in and answers out, as ASGI has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from penstock.errors import MalformedRequest, TooLarge

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def body_of(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge`, and `MalformedRequest` for a caller who leaves before its end."""
    message: Message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body") and size <= limit:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if len(body) > limit:
        raise TooLarge(f"The body is larger than the {limit} bytes that this service takes.")
    if message["type"] == "http.disconnect":
        raise MalformedRequest("The body ended before its end.")
    return body


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
