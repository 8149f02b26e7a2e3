"""Where the server listens: the owner's socket, that of services, and a port of TCP with or without TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn

from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.stack.flavors.local import claim_directory


class Server(uvicorn.Server):
    """uvicorn's server on both doors: TLS is spoken on the port alone.

    `leaving` is called when it is told to stop, and goes on serving for `drain` seconds before it closes its doors.
    """

    def __init__(
        self, config: uvicorn.Config, *, secured: ssl.SSLContext | None, leaving: Callable[[], None], drain: float
    ) -> None:
        super().__init__(config)
        self._secured = secured
        self._leaving = leaving
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the sockets; those of TCP speak TLS if there is a certificate."""
        doors = sockets or []
        plain = [one for one in doors if self._secured is None or one.family == socket.AF_UNIX]
        await super().startup(sockets=plain)
        loop = asyncio.get_running_loop()
        for door in doors:
            if door not in plain:
                self.servers.append(await loop.create_server(self._connection, sock=door, ssl=self._secured))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so first; then take no more connections, and let those that are there come to an end."""
        self._leaving()
        if self._drain and not self.force_exit:
            await asyncio.sleep(self._drain)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        kind = self.config.http_protocol_class
        made: asyncio.Protocol = kind(  # type: ignore[call-arg]  # as uvicorn itself makes them
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def tls(settings: Settings) -> ssl.SSLContext | None:
    """The context of the settings; None without a certificate. Raises `PenstockError` for files that do not fit."""
    if not settings.tls_certificate:
        if settings.tls_key or settings.tls_client_ca:
            raise PenstockError("PENSTOCK_TLS_KEY and PENSTOCK_TLS_CLIENT_CA go with a PENSTOCK_TLS_CERTIFICATE.")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None, password=_no_password)
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise PenstockError(f"the TLS certificate, its key or the client CA cannot be used: {error}.") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal, and wait."""
    raise ValueError("the key is encrypted; give one that is not, readable by this user only")


def unix_socket(path: Path, home: Path) -> socket.socket:
    """The owner's door: a socket that only this user can open, in a directory that only this user can enter."""
    claim_directory(path.parent, str(home))
    path.unlink(missing_ok=True)  # left by a server that was killed: we hold its lock, so nobody listens there
    door = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        door.bind(str(path))
    finally:
        os.umask(before)
    door.listen(512)
    door.setblocking(False)
    return door


def services_socket(path: Path, home: Path) -> socket.socket:
    """The services' door: whoever comes through it is nobody without a token.

    Its directory holds nothing else, and may be shown to containers, whose users are not ours: on this machine the one above
    it keeps all others out.
    """
    claim_directory(path.parent.parent, str(home))
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    path.chmod(0o666)
    door.listen(512)
    door.setblocking(False)
    return door


def tcp_socket(host: str, port: int) -> socket.socket:
    """A port of this machine. Raises `PenstockError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        raise PenstockError(
            f"port {port} of {host} cannot be used: {error.strerror}. Choose another with --port."
        ) from error
    door.listen(512)
    door.setblocking(False)
    return door
