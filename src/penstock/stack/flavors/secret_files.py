"""A secret store on this machine: one encrypted file a secret, which only its owner can read, behind environment variables."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from penstock.errors import InvalidInput, NotFound, StorageFull, Unavailable, fault, pointer

_FORMAT = "aes-256-gcm"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_IN_ENVIRONMENT = re.compile(r"PENSTOCK_SECRET_([A-Z][A-Z0-9_]*?)__[A-Z][A-Z0-9_]*")


class SecretFiles:
    """Secrets in a folder. `PENSTOCK_SECRET_<NAME>__<KEY>` in the environment goes before a file: for containers and CI.

    Files are encrypted (AES-256-GCM, each bound to the name of its secret) with a key that lies beside the folder, not in
    it: who gets the folder, from a backup say, has nothing. Files in clear, of earlier releases, are read, and encrypted when
    they are written next.
    """

    def __init__(self, path: str | Path, *, key_file: str | Path | None = None) -> None:
        """`path` is the folder; it is made when the first secret comes, and the key with it.

        The key is in `key_file`, or where `PENSTOCK_SECRETS_KEY_FILE` says; otherwise in a file named like the folder, with
        `.key` behind it.
        """
        self._folder = Path(path).expanduser()
        where = (
            key_file
            or os.environ.get("PENSTOCK_SECRETS_KEY_FILE")
            or self._folder.with_name(f"{self._folder.name}.key")
        )
        self._key_file = Path(where).expanduser()

    def get(self, name: str) -> dict[str, str]:
        """The values of a secret by key. Raises `NotFound` with the names that there are."""
        values = _overridden(name, self._stored(name))
        if not values:
            known = self.names()
            mistake = fault(pointer("secrets", name), "There is no such secret.", allowed=known, given=name)
            raise NotFound(f"There is no secret '{name}'. `penstock secret set` makes one.", errors=[mistake])
        return values

    def set(self, name: str, values: dict[str, str]) -> None:
        """Add these keys to a secret, or replace their values. The file is never readable to others, and never half there."""
        wrong = [one for one in (name, *values) if not _NAME.fullmatch(one)]
        if wrong:
            raise InvalidInput(f"{wrong[0]!r} cannot name a secret or a key: letters, digits, _ and -, at most 64.")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self._write(name, {**self._stored(name), **values})
        except OSError as error:
            kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
            raise kind(f"The secret cannot be written in {self._folder}: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a secret. Raises `NotFound`."""
        try:
            self._file(name).unlink()
        except FileNotFoundError:
            raise NotFound(f"There is no secret '{name}' in {self._folder}.") from None

    def names(self) -> list[str]:
        """The names of the secrets: those in files, and in lower case those that only the environment has."""
        stored: list[str] = []
        with suppress(OSError):
            stored = [file.stem for file in self._folder.glob("*.json") if _NAME.fullmatch(file.stem)]
        known = {_variable(name, "") for name in stored}
        found = {match[1] for key in os.environ if (match := _IN_ENVIRONMENT.fullmatch(key))}
        return sorted([*stored, *(name.lower() for name in found if _variable(name, "") not in known)])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes a secret meanwhile: two who add keys to one at once must not lose any."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, name: str, values: dict[str, str]) -> None:
        descriptor, fresh = mkstemp(prefix=f".{name}.", dir=self._folder)  # which only its owner can read
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._sealed(name, values), file)
                file.flush()
                os.fsync(file.fileno())
            Path(fresh).replace(self._file(name))
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise

    def _stored(self, name: str) -> dict[str, str]:
        file = self._file(name)
        try:
            with file.open(encoding="utf-8") as content:
                if os.fstat(content.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise Unavailable(f"Others can read the secret in {file}: chmod 600 it, and change its values.")
                values = json.load(content)
            if isinstance(values, dict) and set(values) == {_FORMAT}:
                values = self._opened(name, values[_FORMAT])
            if not isinstance(values, dict) or not all(isinstance(one, str) for one in values.values()):
                raise ValueError  # whoever wrote this, it was not `set`
            return values
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"The secret in {file} cannot be read: {type(error).__name__}.") from error

    def _sealed(self, name: str, values: dict[str, str]) -> dict[str, str]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # most runs have no secrets

        nonce = os.urandom(12)
        sealed = AESGCM(self._key(make=True)).encrypt(nonce, json.dumps(values).encode(), name.encode())
        return {_FORMAT: base64.b64encode(nonce + sealed).decode()}

    def _opened(self, name: str, text: object) -> object:
        from cryptography.exceptions import InvalidTag  # most runs have no secrets
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        sealed = base64.b64decode(str(text), validate=True)
        try:
            return json.loads(AESGCM(self._key(make=False)).decrypt(sealed[:12], sealed[12:], name.encode()))
        except InvalidTag:
            raise Unavailable(
                f"Secret '{name}' was encrypted with another key than that in {self._key_file}, or its file was changed: set it anew."
            ) from None

    def _key(self, *, make: bool) -> bytes:
        """The key; where there is none and one may be made, a new one, which only its owner can read."""
        try:
            if make:
                with suppress(FileExistsError):
                    descriptor = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(os.urandom(32))
                        file.flush()
                        os.fsync(file.fileno())
            with self._key_file.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise Unavailable(
                        f"Others can read the key in {self._key_file}: chmod 600 it, and change all secrets."
                    )
                key = file.read(33)
        except OSError as error:
            raise Unavailable(f"The key in {self._key_file} cannot be read or made: {error.strerror}.") from error
        if len(key) != 32:
            raise Unavailable(f"The key in {self._key_file} is damaged: it has 32 bytes.")
        return key

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is the name of no secret: letters, digits, _ and -, at most 64.")
        return self._folder / f"{name}.json"


def _variable(name: str, key: str) -> str:
    return f"PENSTOCK_SECRET_{name}__{key}".upper().replace("-", "_")


def _overridden(name: str, stored: dict[str, str]) -> dict[str, str]:
    """The values with those in their places that the environment has; a key that only it has is in lower case."""
    start = _variable(name, "")
    found = {key: value for key, value in os.environ.items() if key.startswith(start) and key != start}
    values = {key: found.pop(_variable(name, key), value) for key, value in stored.items()}
    return values | {variable.removeprefix(start).lower(): value for variable, value in found.items()}
