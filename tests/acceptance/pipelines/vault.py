"""Pipelines that use secrets: for tests of what becomes of them."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from pydantic import BaseModel, SecretStr

from penstock import log_metadata, pipeline, step


class Login(BaseModel):
    """A secret inside a record."""

    user: str
    password: SecretStr


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@step
def use(token: SecretStr, login: Login | None, spare: SecretStr | None = None) -> list[str]:
    return [digest(token.get_secret_value()), digest(login.password.get_secret_value()) if login else "", repr(token)]


@step(secrets=["db"], environment={"URL": "sql://u:{{db.password}}@host"})
def connect() -> list[str]:
    return [digest(os.environ["password"]), digest(os.environ["URL"])]  # noqa: SIM112  (the key as the secret has it)


@step
def tell(token: SecretStr) -> str:
    value = token.get_secret_value()
    sys.stdout.write("begun " + value[:5])
    sys.stdout.write(value[5:] + " ended\n")
    log_metadata({"leaked": value})
    return f"the value is {value}"


@step
def fail(token: SecretStr) -> None:
    value = token.get_secret_value()
    raise ValueError(f"cannot log in with {value}")


@pipeline
def vault(token: SecretStr, login: Login | None = None) -> Any:
    return {"used": use(token, login), "connected": connect()}


@pipeline
def careless(token: SecretStr, fails: bool = False) -> Any:
    if fails:
        fail(token)
    return tell(token)
