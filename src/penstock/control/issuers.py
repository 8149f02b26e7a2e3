"""The public keys of issuers: found where the issuer says, kept for a while, and looked for again when a new one signs."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt

from penstock.errors import Unauthenticated
from penstock.model.trust import ALGORITHMS, is_safe

log = logging.getLogger("penstock.trusts")

FRESH, STALE, PAUSE = 3600.0, 24 * 3600.0, 30.0
"""Seconds for which keys are taken as they are, for which they will do if the issuer does not answer, and that lie at
least between two looks: a token with a made-up key id costs the issuer nothing."""

_LARGEST = 256 * 1024
_PATIENCE = 5.0
_KINDS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
_SHORTEST_RSA = 2048


@dataclass
class _Known:
    keys: dict[str | None, jwt.PyJWK] = field(default_factory=dict)
    fetched: float = float("-inf")
    looked: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class Issuers:
    """The keys of the issuers that this server has asked. Thread-safe; one at a time asks an issuer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def key(self, issuer: str, identity: str | None, algorithm: str) -> jwt.PyJWK:
        """The key with this id. Raises `Unauthenticated` if the issuer has none that signs so, or cannot be asked."""
        with self._lock:
            known = self._known.setdefault(issuer, _Known())
        with known.lock:
            age = self._clock() - known.fetched
            if age > FRESH or (identity not in known.keys and (identity is not None or len(known.keys) != 1)):
                self._look(issuer, known)
        found = known.keys.get(identity)
        if found is None and identity is None and len(known.keys) == 1:
            found = next(iter(known.keys.values()))
        if found is None or not _fits(found, algorithm):
            raise Unauthenticated("The issuer has no key that has signed this token.")
        return found

    def _look(self, issuer: str, known: _Known) -> None:
        at = self._clock()
        if at - known.looked < PAUSE:
            return
        known.looked = at
        try:
            known.keys = _keys(issuer)
            known.fetched = at
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.warning("the keys of %s cannot be had: %s", issuer, error)
            if at - known.fetched > STALE:
                known.keys = {}


def _keys(issuer: str) -> dict[str | None, jwt.PyJWK]:
    told = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if told.get("issuer") != issuer:
        raise ValueError(f"it calls itself {told.get('issuer')!r}")
    where = told.get("jwks_uri")
    if not isinstance(where, str) or not is_safe(where, of=issuer):
        raise ValueError(f"its keys are said to be at {where!r}, which is not https")
    listed = _fetch(where).get("keys")
    keys: dict[str | None, jwt.PyJWK] = {}
    for one in listed if isinstance(listed, list) else ():
        if not isinstance(one, dict) or one.get("kty") not in _KINDS or one.get("use", "sig") != "sig":
            continue
        try:
            keys[one.get("kid")] = jwt.PyJWK(one)
        except jwt.PyJWTError as error:
            log.info("a key of %s is of no use here: %s", issuer, error)
    return keys


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """Whether the key makes signatures of this kind: what a token says of itself is not enough."""
    if algorithm not in ALGORITHMS or not algorithm.startswith(_KINDS.get(key.key_type or "", ("?",))):
        return False
    return key.key_type != "RSA" or key.key.key_size >= _SHORTEST_RSA


def _fetch(url: str) -> dict[str, Any]:
    """The JSON object there. No redirect is followed, no proxy of the environment asked, and no more read than is due."""
    parts = urlsplit(url)
    host = str(parts.hostname)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=_PATIENCE, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json", "User-Agent": "penstock"})
        answer = connection.getresponse()
        body = answer.read(_LARGEST + 1)
    finally:
        connection.close()
    if answer.status != 200 or len(body) > _LARGEST:
        raise ValueError(f"{url} answers {answer.status}, {len(body)} bytes")
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError(f"{url} answers no JSON object")  # noqa: TRY004  (what comes is no argument of ours)
    return content
