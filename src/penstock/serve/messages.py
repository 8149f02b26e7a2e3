"""Bodies in and answers out, as ASGI has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from penstock.errors import MalformedRequest, TooLarge, TooSlow

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


SLOWEST = 16 * 1024
"""Bytes a second: who sends a body more slowly, besides the patience that there is with everybody, is refused."""


async def body_of(receive: Receive, limit: int, patience: float) -> bytes:
    """The whole body. Raises `TooLarge`, `TooSlow`, and `MalformedRequest` for a caller who leaves before its end."""
    parts: list[bytes] = []
    size, more = 0, True
    began = asyncio.get_running_loop().time()
    while more:
        try:
            async with asyncio.timeout_at(began + patience + size / SLOWEST):
                message: Message = await receive()
        except TimeoutError:
            raise TooSlow("The body did not come in time.", headers={"Connection": "close"}) from None
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
