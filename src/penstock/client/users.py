"""People: their accounts, and one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.model.account import Account, Role


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A code with which a person gives their account a password: good once, and shown this once."""

    account: Account
    code: str
    expires_in: int


class Users:
    """`user` is an id or a name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def invite(
        self,
        name: str,
        *,
        role: Role | None = None,
        grants: Mapping[str, Role] | None = None,
        description: str | None = None,
    ) -> Invitation:
        """An account for a person, and the code to activate it with. Raises `Conflict` if the name is taken."""
        body = given(name=name, role=role, grants=grants, description=description)
        return self._connection.fetch(Invitation, "POST", "/users", json=body)

    def get(self, user: str) -> Account:
        """The person's account. Raises `NotFound`."""
        return self._connection.fetch(Account, "GET", path("users", user))

    def list(self, *, size: int = 20, cursor: str | None = None) -> Page[Account]:
        """One page of people."""
        return self._connection.fetch(Page[Account], "GET", "/users", query={"size": size, "cursor": cursor})

    def change(
        self,
        user: str,
        *,
        role: Role | None = None,
        grants: Mapping[str, Role] | None = None,
        active: bool | None = None,
        description: str | None = None,
    ) -> Account:
        """Another role, other grants (in the place of all that they have), or another state. It holds at once."""
        body = given(role=role, grants=grants, active=active, description=description)
        return self._connection.fetch(Account, "PATCH", path("users", user), json=body)

    def delete(self, user: str) -> None:
        """Remove the account; its sessions and keys stop working."""
        self._connection.send("DELETE", path("users", user))

    def reset(self, user: str) -> Invitation:
        """A code for another password. The old one works until then."""
        return self._connection.fetch(Invitation, "POST", path("users", user, "reset"))

    def activate(self, code: str, password: str, *, name: str | None = None) -> Account:
        """Use a code up. The server's own makes the first account, an admin's, under `name`."""
        body = given(code=code, password=password, name=name)
        return self._connection.fetch(Account, "POST", "/users/activate", json=body)

    def sign_out_everywhere(self) -> None:
        """End all sessions and tokens of one's own account. Its keys stay."""
        self._connection.send("DELETE", "/sessions")
