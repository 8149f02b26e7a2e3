"""Callbacks: where the end of a run is told, what is sent there, how it is signed, and when it is tried again. Pure.

What is sent keeps the contract of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from penstock.errors import InvalidInput, fault
from penstock.model.run import Run

LONGEST_URL = 2000

MOST = 50
"""Addresses that one run tells of its end."""

PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0)
"""Seconds before each further try; when the last one has failed it is given up."""

LONGEST_PAUSE = 24 * 3600.0
"""Seconds for which a receiver may ask us to stay away."""

_JITTER = 0.1
_GONE = 410
_POINTER = "/callback_url"
_PREFIX = "whsec_"
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")  # RFC 3986, but for the fragment
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]+")


class CallbackState(StrEnum):
    """Where one callback stands."""

    WAITING = "waiting"
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Callback:
    """One address that is told of the end of one run."""

    id: str
    """The `webhook-id`, the same at each try: what a receiver knows a repetition by."""

    run_id: str
    url: str
    """Where it goes. Shown without its query, which may hold a secret of the receiver."""

    state: CallbackState = CallbackState.WAITING
    """`waiting` for the run's end; `pending`: a try is due at `next_try`; `sending`; `delivered`; `dead`: given up."""

    attempts: int = 0
    """Tries so far, since it was last asked for."""

    status: int | None = None
    """The HTTP status that the last try was answered with."""

    problem: str | None = None
    """Why the last try was none."""

    next_try: datetime | None = None
    """When it is tried (again); while it is being sent, when it would be if this server were lost now."""

    created: datetime
    tried: datetime | None = None
    ended: datetime | None = None
    """When it was delivered or given up."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What became of one try: a status, or why there is none."""

    status: int | None = None
    problem: str | None = None
    retry_after: str | None = None


@dataclass(frozen=True, kw_only=True)
class CallbackSecret:
    """What receivers check signatures with. While it is being rotated, the one before signs as well until a moment."""

    secret: str
    created: datetime | None = None
    """None: it was never rotated."""

    previous_until: datetime | None = None
    """Until when the one before signs too."""


def checked_url(text: str) -> str:
    """`text` if it is an address that can be called back. Raises `InvalidInput` that says what is wrong with it."""
    told = _mistake(text)
    if told is not None:
        raise refused(told)
    return text


def refused(told: str) -> InvalidInput:
    """The error for an address that is not called back."""
    return InvalidInput(f"This address cannot be called back. {told}", errors=[fault(_POINTER, told)])


def _mistake(text: str) -> str | None:
    if not 1 <= len(text) <= LONGEST_URL:
        return f"A callback address has at most {LONGEST_URL} characters."
    if "#" in text:
        return "It has a fragment (#), which is never sent: leave it out."
    if not _CHARACTERS.fullmatch(text):
        return "It has characters that no URL has: escape them (%20), and write the host in ASCII."
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "Its host or its port is not right."
    if parts.scheme not in ("http", "https"):
        return "Only http:// and https:// can be called back."
    if "@" in parts.netloc:
        return "It has credentials in it: let the receiver check the signature instead."
    if not parts.hostname or len(parts.hostname) > 253 or not _HOST.fullmatch(parts.hostname) or port == 0:
        return "Its host or its port is not right."
    return None


def parts_of(url: str) -> tuple[SplitResult, str, int]:
    """The URL taken apart, its host and its port. It was checked before."""
    parts = urlsplit(url)
    return parts, str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)


def host_of(url: str) -> str:
    """The receiver: those of one host share a bound."""
    return parts_of(url)[1].lower().removesuffix(".")


def shown(callback: Callback) -> Callback:
    """The callback as it is shown to those who may see the run."""
    address, query, _ = callback.url.partition("?")
    return replace(callback, url=f"{address}?..." if query else address)


def content(run: Run) -> dict[str, Any]:
    """What is sent: which end it was, when, and the run as it is shown to those who ask for it."""
    return {"type": f"run.{run.state}", "timestamp": run.ended or run.created, "data": run}


def secret_text(key: bytes) -> str:
    """A secret in the form in which receivers are given it."""
    return _PREFIX + base64.b64encode(key).decode()


def headers(callback_id: str, at: datetime, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """The headers that a receiver checks: a signature for each secret, so that one can be exchanged without a gap."""
    moment = str(int(at.timestamp()))
    signed = b".".join((callback_id.encode(), moment.encode(), body))
    return {
        "webhook-id": callback_id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def after(callback: Callback, reply: Reply, at: datetime) -> Callback:
    """The callback after a try: delivered by any 2xx, given up by 410 or when the tries are used up, else due again."""
    tried = replace(callback, status=reply.status, problem=reply.problem, tried=at, next_try=None)
    if reply.status is not None and 200 <= reply.status < 300:
        return replace(tried, state=CallbackState.DELIVERED, ended=at)
    if reply.status == _GONE or callback.attempts > len(PAUSES):
        return replace(tried, state=CallbackState.DEAD, ended=at)
    pause = PAUSES[max(0, callback.attempts - 1)] * random.uniform(1, 1 + _JITTER)  # noqa: S311  (no secret)
    pause = max(pause, min(LONGEST_PAUSE, _asked_pause(reply.retry_after, at)))
    return replace(tried, state=CallbackState.PENDING, next_try=at + timedelta(seconds=pause))


def _asked_pause(retry_after: str | None, at: datetime) -> float:
    """Seconds that a `Retry-After` asks for; 0 for what is none."""
    text = (retry_after or "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return 0.0 if moment.tzinfo is None else max(0.0, (moment - at).total_seconds())
