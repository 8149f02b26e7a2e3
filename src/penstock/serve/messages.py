"""Bodies in and answers out, as ASGI has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from penstock.errors import MalformedRequest, TooLarge

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def body_of(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge`, and `MalformedRequest` for a caller who leaves before its end."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequest("The body ended before its end.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            headers = {"Connection": "close"}  # the rest of it is not read
            raise TooLarge(f"The body is larger than the {limit} bytes that this service takes.", headers=headers)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def left(receive: Receive) -> None:
    """Return when the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
