"""A secret store on this machine: one file a secret, which only its owner can read, behind environment variables."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from penstock.errors import InvalidInput, NotFound, StorageFull, Unavailable, fault, pointer

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VARIABLE = "PENSTOCK_SECRET_{name}__{key}"


class SecretFiles:
    """Secrets in a folder. `PENSTOCK_SECRET_<NAME>__<KEY>` in the environment goes before a file: for containers and CI."""

    def __init__(self, path: str | Path) -> None:
        """`path` is the folder; it is made when the first secret comes."""
        self._folder = Path(path).expanduser()

    def get(self, name: str) -> dict[str, str]:
        """The values of a secret by key. Raises `NotFound` with the names that there are."""
        values = {**self._stored(name), **_from_environment(name)}
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
        whole = {**self._stored(name), **values}
        fresh = self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(whole, file)
            fresh.replace(self._file(name))
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise StorageFull(f"The secret cannot be written in {self._folder}: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a secret. Raises `NotFound`."""
        try:
            self._file(name).unlink()
        except FileNotFoundError:
            raise NotFound(f"There is no secret '{name}' in {self._folder}.") from None

    def names(self) -> list[str]:
        """The names of the secrets in files."""
        with suppress(OSError):
            return sorted(file.stem for file in self._folder.glob("*.json"))
        return []

    def _stored(self, name: str) -> dict[str, str]:
        file = self._file(name)
        try:
            with file.open(encoding="utf-8") as content:
                if os.fstat(content.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise Unavailable(f"Others can read the secret in {file}: chmod 600 it, and change its values.")
                values = json.load(content)
            if not isinstance(values, dict) or not all(isinstance(one, str) for one in values.values()):
                raise ValueError  # whoever wrote this, it was not `set`
            return values
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise Unavailable(f"The secret in {file} cannot be read: {type(error).__name__}.") from error

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is the name of no secret: letters, digits, _ and -, at most 64.")
        return self._folder / f"{name}.json"


def _from_environment(name: str) -> dict[str, str]:
    start = _VARIABLE.format(name=name.upper().replace("-", "_"), key="")
    return {key[len(start) :].lower(): value for key, value in os.environ.items() if key.startswith(start)}
