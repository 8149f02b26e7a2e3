"""A bad network between clients and the server: a proxy that refuses, resets, swallows, stalls and drips when told to."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum


class Ill(StrEnum):
    """What is wrong with the network now."""

    NOTHING = "nothing"
    REFUSE = "refuse"
    """Connections are closed as soon as they are made."""

    RESET = "reset"
    """Requests break off on their way."""

    SWALLOW = "swallow"
    """Requests arrive, and their answers do not: nobody knows what was done."""

    STALL = "stall"
    """Nothing moves, in either direction, until it is mended."""

    DRIP = "drip"
    """Everything moves, a few bytes at a time."""


ILLS = tuple(one for one in Ill if one is not Ill.NOTHING)

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing resets the connection (tcp(7))."""


class Proxy:
    """Listens on `port` of this machine and passes everything on to the port `upstream`, well or ill."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._ill = Ill.NOTHING
        self._loop = asyncio.new_event_loop()
        self._mended = asyncio.Event()
        self._mended.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def fall_ill(self, ill: Ill) -> None:
        """From now on this is wrong, with connections that are there, too. `NOTHING` mends it."""
        self._ill = ill
        self._in_loop(self._mended.set if ill is Ill.NOTHING else self._mended.clear)

    def close(self) -> None:
        """Pass nothing on any more."""
        self._ill = Ill.REFUSE
        self._in_loop(self._mended.set)

        async def leave() -> None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(leave(), self._loop).result(5)
        self._in_loop(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _in_loop(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._ill is Ill.REFUSE:
            _reset(writer)
            return
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, requests}
        ways = [
            asyncio.create_task(self._pass_on(reader, requests, {Ill.RESET})),
            asyncio.create_task(self._pass_on(answers, writer, {Ill.SWALLOW})),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= {writer, requests}
            for end in (requests, writer):
                end.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadly: set[Ill]) -> None:
        """Pass bytes on one way until one side ends it, or an ill that is deadly this way does."""
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if self._ill in deadly:
                    writer.transport.abort()
                    return
                if self._ill is Ill.STALL:
                    await self._mended.wait()
                await self._send(writer, data)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = 64 if self._ill is Ill.DRIP else len(data)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            if self._ill is Ill.DRIP:
                await asyncio.sleep(0.02)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
