"""Getting a key without typing one: this device asks, and its owner answers in a browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.client.connection import Connection
from penstock.errors import AuthorizationPending, DeviceExpired, ServerUnreachable, SlowDown, Unavailable

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be shown to the owner (`user_code`, `verification_uri`), and what to poll with."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


@dataclass(frozen=True, kw_only=True)
class _Token:
    access_token: str
    expires_in: int


class Devices:
    """This device, and those of others."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, client: str) -> Asked:
        """Ask for access; `client` is what the owner is told of this device."""
        return self._connection.fetch(Asked, "POST", "/devices", json={"client_id": client})

    def wait(self, asked: Asked, *, sleep: Callable[[float], None] = time.sleep) -> str:
        """The key, once the owner has said yes. Raises `AccessDenied`, or `DeviceExpired` when the time is over."""
        deadline, pause = time.monotonic() + asked.expires_in, float(asked.interval)
        while time.monotonic() < deadline:
            sleep(pause)
            try:
                body = {"grant_type": GRANT, "device_code": asked.device_code}
                return self._connection.fetch(_Token, "POST", "/login", json=body).access_token
            except SlowDown:
                pause += 5
            except (AuthorizationPending, ServerUnreachable, Unavailable):
                continue
        raise DeviceExpired("Nobody has answered in time. Log in again.")

    def answer(self, user_code: str, *, approve: bool) -> None:
        """Let the device that shows this code in as oneself, or not."""
        self._connection.send("POST", f"/devices/{user_code}/answer", json={"approve": approve})
