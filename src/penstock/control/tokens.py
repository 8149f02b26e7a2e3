"""Short-lived signed tokens: for an account that logged in, and for one claim of one run. Kinds are not interchangeable."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Any, Literal

import jwt

from penstock.errors import Unauthenticated

Kind = Literal["account", "run", "deployment"]
_ALGORITHM = "HS256"
_ISSUER = "penstock"


class Signer:
    """Makes and checks the tokens of one installation."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, kind: Kind, subject: str, *, lifetime: float, **claims: Any) -> str:
        """A token of this kind for `subject`, valid for `lifetime` seconds."""
        issued = int(time.time())
        content = {"iss": _ISSUER, "aud": kind, "sub": subject, "iat": issued, "exp": issued + int(lifetime), **claims}
        return jwt.encode(content, self._secret, algorithm=_ALGORITHM)

    def mark(self, text: str) -> str:
        """What only this installation can have written under this text. No token can be taken for it, nor it for one."""
        return hmac.new(self._secret, b"mark\0" + text.encode(), hashlib.sha256).hexdigest()

    def check(self, kind: Kind, token: str) -> dict[str, Any]:
        """The claims of a valid token of this kind. Raises `Unauthenticated` for every other text."""
        try:
            return jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=kind,
                issuer=_ISSUER,
                # When it was issued is told and not judged: a clock that was put back must cut off no run that is under way.
                options={"require": ["exp", "iat", "sub", "aud", "iss"], "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated("This token is not valid (any more). Log in again, or use an API key.") from error

    def derived(self, purpose: str) -> bytes:
        """32 secret bytes of this installation for one purpose; those of one purpose say nothing about any other."""
        return hmac.digest(self._secret, f"penstock {purpose}".encode(), hashlib.sha256)


def load_secret(path: Path) -> bytes:
    """The installation's signing secret, made at the first start and readable by its owner alone."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    fresh = path.with_suffix(f".{os.getpid()}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(48))
    try:
        os.link(fresh, path)  # fails if another process was first: then its secret counts
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()
