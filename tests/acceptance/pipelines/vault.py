"""Pipelines that use secrets: for tests of what becomes of them."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from pydantic import BaseModel, SecretStr, TypeAdapter

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


@step
def lose(token: SecretStr, how: str) -> Any:
    """Let the value out so that others cut it before it is told."""
    value = token.get_secret_value()
    if how == "long error":
        raise ValueError("x" * (4032 - len(value) // 2) + value + "y" * 20_000)
    if how == "end of a long error":
        raise ValueError("x" * 20_000 + value + "y" * (4032 - len(value) // 2))
    if how == "error of a library":
        return TypeAdapter(int).validate_python(f"db://me:{value}@host/{'x' * 80}")
    log_metadata({"leaked": [f"{value[:10]}...", f"…{value[-10:]}"]})
    if how == "bytes":
        return b"x" * 20 + value.encode()
    return "x" * (400 - len(value) // 2) + value


@pipeline
def vault(token: SecretStr, login: Login | None = None) -> Any:
    return {"used": use(token, login), "connected": connect()}


@pipeline
def careless(token: SecretStr, fails: bool = False) -> Any:
    if fails:
        fail(token)
    return tell(token)


@pipeline
def cutting(token: SecretStr, how: str) -> Any:
    return lose(token, how)
