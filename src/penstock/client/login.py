"""Which server to talk to and with which key: arguments over environment over the stored login over this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.errors import HomeUnusable, InvalidInput, PenstockError
from penstock.ids import new_id
from penstock.model.wire import reader
from penstock.settings import Settings


@dataclass(frozen=True)
class Login:
    """A server other than the one of this home, and the key for it."""

    url: str
    api_key: str | None = None


def find(settings: Settings, url: str | None, api_key: str | None) -> Login | None:
    """The server that is meant; None for the server of this home.

    A key goes only to the server it was given for: one from the environment or the stored login is not sent to a URL
    from elsewhere. Raises `InvalidInput` for a key without any server to use it on.
    """
    stored = read(settings.home)
    target = url or settings.url or (stored.url if stored else None)
    if target is None:
        if api_key or settings.api_key:
            raise InvalidInput(
                "An API key was given, but no server to use it on. Give the server's URL too (PENSTOCK_URL, or "
                "`penstock login URL`); the server on this machine needs no key."
            )
        return None
    if not api_key and _same(settings.url or target, target):
        api_key = settings.api_key
    if not api_key and stored is not None and _same(stored.url, target):
        api_key = stored.api_key
    return Login(target, api_key or None)


def read(home: Path) -> Login | None:
    """The login stored in this home, if there is one."""
    path = _path(home)
    try:
        return reader(Login)(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HomeUnusable(f"The stored login {path} cannot be read: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise PenstockError(f"The stored login {path} is damaged. Log in again: `penstock login URL`.") from error


def write(home: Path, login: Login) -> Path:
    """Store `login` in this home, readable by its owner only; return the file."""
    path = _path(home)
    draft = path.with_name(f"{path.name}.{new_id()}")
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(login))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise HomeUnusable(f"The login cannot be stored at {path}: {error.strerror}.") from error
    return path


def forget(home: Path) -> bool:
    """Remove the stored login; False if there was none."""
    try:
        _path(home).unlink()
    except FileNotFoundError:
        return False
    return True


def _path(home: Path) -> Path:
    return home / "login.json"


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
