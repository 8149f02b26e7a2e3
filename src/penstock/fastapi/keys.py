"""The keys of an embedded router: who may call it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fastapi import Request

from penstock.errors import InvalidInput, Unauthenticated

SHORTEST = 16
"""Characters that a key must have: shorter ones can be guessed."""


class Keys:
    """The keys that are good, kept as digests only. None: the application itself says who may call."""

    def __init__(self, keys: str | Iterable[str] | None, header: str) -> None:
        self.header = header
        given = None if keys is None else [keys] if isinstance(keys, str) else list(keys)
        if given is not None and (not given or any(len(one) < SHORTEST for one in given)):
            raise InvalidInput(
                f"api_keys needs keys of at least {SHORTEST} characters each. None, in words, means that the application "
                "checks by itself who calls."
            )
        self._good = None if given is None else [_digest(one) for one in given]

    @property
    def open(self) -> bool:
        """Whether the router itself asks for no key."""
        return self._good is None

    def check(self, request: Request) -> None:
        """Raises `Unauthenticated` unless the request has a good key. The time that it takes tells nothing about any key."""
        if self._good is None:
            return
        shown = _digest(request.headers.get(self.header, ""))
        if not any([hmac.compare_digest(shown, one) for one in self._good]):  # noqa: C419  (always all of them)
            raise Unauthenticated(
                f"Send your key in the header '{self.header}'.",
                headers={"WWW-Authenticate": f'ApiKey in="{self.header}"'},
            )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
