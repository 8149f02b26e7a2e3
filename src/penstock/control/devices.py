"""Devices: they ask, their owner answers in a browser, and they get a key of their owner's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from penstock.control import accounts, audit, throttle
from penstock.control.installation import Installation, now
from penstock.control.throttle import Guess
from penstock.errors import (
    AccessDenied,
    AuthorizationPending,
    DeviceExpired,
    NotFound,
    PenstockError,
    SlowDown,
    TooManyRequests,
)
from penstock.model.account import NewApiKey
from penstock.model.device import Device, new_user_code, typed
from penstock.model.session import new_secret, secret_digest
from penstock.store import accounts as stored_accounts
from penstock.store import devices
from penstock.store.session import WriteSession

LIFETIME = timedelta(minutes=10)
KEY_DAYS = 30.0
"""For how long a device is let in."""

_MOST = 1000
_LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a device is told: `device_code` is its own, `user_code` is to be shown."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int


def ask(installation: Installation, client: str, address: str) -> Asked:
    """A device asks for access."""
    at, secret = now(), new_secret()
    device = Device(
        digest=secret_digest(secret),
        user_code=new_user_code(),
        client=client[:_LONGEST] or "unknown",
        address=address,
        created=at,
        expires=at + LIFETIME,
    )
    with installation.db.write() as session:
        devices.purge(session, at)
        if devices.count(session) >= _MOST:
            raise TooManyRequests("Too many devices are asking at once.", headers={"Retry-After": "60"})
        devices.insert(session, device)
    lifetime = int(LIFETIME.total_seconds())
    return Asked(device_code=secret, user_code=device.user_code, expires_in=lifetime, interval=device.interval)


def shown(installation: Installation, user_code: str, guess: Guess) -> Device:
    """The device that shows this code and waits for an answer. Raises `NotFound`; guessing is slowed down."""
    with installation.db.read() as session:
        throttle.check(session, guess)
        device = devices.by_code(session, typed(user_code))
    if device is None or device.expires <= now() or device.state != "pending":
        throttle.failed(installation, guess)
        raise NotFound("No device shows this code, or its time is over.")
    return device


def answer(installation: Installation, user_code: str, account_id: str, guess: Guess, *, approve: bool) -> Device:
    """The owner's word: the device gets in as them, or not. Each answers once."""
    shown(installation, user_code, guess)
    with installation.db.write() as session:
        device = devices.by_code(session, typed(user_code))
        if device is None or device.state != "pending":
            raise NotFound("No device shows this code, or its time is over.")
        device = replace(device, state="approved" if approve else "denied", account_id=account_id)
        devices.save(session, device)
    return device


def poll(installation: Installation, device_code: str) -> NewApiKey:
    """The device's key, once its owner has said yes. Raises the errors of RFC 8628 until then, or for good."""
    with installation.db.write() as session:
        outcome = _polled(session, secret_digest(device_code))
        if isinstance(outcome, NewApiKey):
            audit.proved(accounts.principal_of(stored_accounts.get(session, outcome.record.account_id)))
    if isinstance(outcome, PenstockError):
        raise outcome
    return outcome


def _polled(ws: WriteSession, digest: str) -> NewApiKey | PenstockError:
    """What a poll is answered. An error is returned, not raised: that it polled is kept."""
    at = now()
    device = devices.find(ws, digest)
    if device is None or device.expires <= at:
        return DeviceExpired("This code is not good any more: ask for another one.")
    if device.polled is not None and at - device.polled < timedelta(seconds=device.interval):
        device = replace(device, interval=device.interval + 5, polled=at)
        devices.save(ws, device)
        return SlowDown(f"Too often: poll every {device.interval} s.", headers={"Retry-After": str(device.interval)})
    if device.state == "pending":
        devices.save(ws, replace(device, polled=at))
        return AuthorizationPending("Nobody has answered yet.")
    devices.remove(ws, digest)
    account = stored_accounts.get(ws, str(device.account_id))
    if device.state == "denied" or not account.active:
        return AccessDenied("Access was denied.")
    name = f"device-{digest[:12]}"
    return accounts.create_key(ws, account, accounts.KeyWish(name=name, expires_in_days=KEY_DAYS))
