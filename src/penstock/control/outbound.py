"""Requests that this server makes to addresses that others have given: only where they may go, and never for long."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future

from penstock.model.address import Network, refusal
from penstock.model.callback import Reply, parts_of
from penstock.version import VERSION

CONNECTING = 5.0
"""Seconds for one of a host's addresses before the next one is tried."""

MOST_READ = 64 * 1024
"""Bytes that are read of an answer: its head, and as much again of its body, which nobody keeps."""

_LAST_BYTES = 1.0
_LOOKUPS = threading.BoundedSemaphore(32)
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |\r)")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([ -~]*)\r\n", re.IGNORECASE)


class NotAllowed(Exception):
    """This host must not be called; the text says why."""


def look_up(host: str, port: int, patience: float) -> Future[list[str]]:
    """The addresses of a host, in the order to try them. A name server may take its time: nobody has to wait for it.

    Numbers in any form (decimal, octal, short) are taken as the system takes them when it connects.
    """
    found: Future[list[str]] = Future()
    found.set_running_or_notify_cancel()

    def ask() -> None:
        if not _LOOKUPS.acquire(timeout=patience):
            found.set_exception(TimeoutError())
            return
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(address[0]) for *_, address in answers)))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)
        finally:
            _LOOKUPS.release()

    threading.Thread(target=ask, name="penstock-lookup", daemon=True).start()
    return found


def check(addresses: Sequence[str], allowed: Collection[Network]) -> None:
    """Raise `NotAllowed` unless all of a host's addresses may be called: one that may not is one too many."""
    for address in addresses:
        told = refusal(address, allowed)
        if told is not None:
            raise NotAllowed(f"{told}: PENSTOCK_CALLBACK_ALLOW has the networks that may be called besides")
    if not addresses:
        raise NotAllowed("the host has no address")


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Collection[Network],
    timeout: float,
    context: ssl.SSLContext,
) -> Reply:
    """Send it to the address that was checked, and take the status that is answered. No redirect is followed, no proxy used."""
    try:
        async with asyncio.timeout(timeout):
            return await _post(url, body, headers, allowed, timeout, context)
    except TimeoutError:
        return Reply(problem="It did not answer in time.")
    except ssl.SSLCertVerificationError as error:
        return Reply(problem=f"Its certificate is not good: {error.verify_message}.")
    except NotAllowed as error:
        return Reply(problem=f"It is not called: {error}.")
    except socket.gaierror as error:
        return Reply(problem=f"Its host cannot be found: {error.strerror}.")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, UnicodeError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Reply(problem=f"It gave no answer: {told or type(error).__name__}.")


async def _post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allowed: Collection[Network],
    timeout: float,
    context: ssl.SSLContext,
) -> Reply:
    parts, host, port = parts_of(url)
    addresses = await asyncio.wrap_future(look_up(host, port, timeout))
    check(addresses, allowed)
    secured = context if parts.scheme == "https" else None
    reader, writer = await _connected(addresses, port, secured, host.removesuffix("."))
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        told = {
            "Host": parts.netloc,
            "User-Agent": f"Penstock/{VERSION}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body)
        reply = await _answer(reader)
        await _last_bytes(reader)
    finally:
        writer.transport.abort()
    return reply


async def _connected(
    addresses: Sequence[str], port: int, secured: ssl.SSLContext | None, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of the addresses that takes one; with TLS, the certificate is held against the name."""
    failed: OSError | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECTING):
                return await asyncio.open_connection(
                    address, port, ssl=secured, server_hostname=name if secured else None, limit=MOST_READ
                )
        except ssl.SSLError:
            raise
        except OSError as error:  # a time-out is one, too
            failed = error
    assert failed is not None
    raise failed


async def _answer(reader: asyncio.StreamReader) -> Reply:
    """The final status. A receiver may answer before it has read all: what is sent is not waited for."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = _STATUS.match(head)
        if status is None:
            raise ValueError("what it sent is no HTTP")
        number = int(status[1])
        if number >= 200:
            asked = _RETRY_AFTER.search(head)
            problem = None if number < 300 else f"It answered {number}."
            return Reply(status=number, problem=problem, retry_after=asked[1].decode() if asked else None)


async def _last_bytes(reader: asyncio.StreamReader) -> None:
    """Let a well-behaved receiver send the rest of its answer, so that it is not cut off; not for long, and not much."""
    left = MOST_READ
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_LAST_BYTES):
            while left > 0 and (block := await reader.read(left)):
                left -= len(block)
