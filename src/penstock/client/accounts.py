"""Service accounts and their API keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.model.account import Account, ApiKey, NewApiKey, Role


class Accounts:
    """`account` is an id or a name; so is `key`, among the keys of its account."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        role: Role | None = None,
        grants: Mapping[str, Role] | None = None,
        description: str | None = None,
    ) -> Account:
        """A new service account, without a key: its role everywhere, and those on single run templates.

        Raises `Conflict` if the name is taken.
        """
        body = given(name=name, role=role, grants=grants, description=description)
        return self._connection.fetch(Account, "POST", "/service_accounts", json=body)

    def get(self, account: str) -> Account:
        """The account. Raises `NotFound`."""
        return self._connection.fetch(Account, "GET", path("service_accounts", account))

    def list(self, *, size: int = 20, cursor: str | None = None) -> Page[Account]:
        """One page of accounts."""
        query = {"size": size, "cursor": cursor}
        return self._connection.fetch(Page[Account], "GET", "/service_accounts", query=query)

    def change(
        self,
        account: str,
        *,
        role: Role | None = None,
        grants: Mapping[str, Role] | None = None,
        active: bool | None = None,
        description: str | None = None,
    ) -> Account:
        """Another role, other grants (in the place of all that it has), or another state. It holds at its next request."""
        body = given(role=role, grants=grants, active=active, description=description)
        return self._connection.fetch(Account, "PATCH", path("service_accounts", account), json=body)

    def delete(self, account: str) -> None:
        """Delete the account; its keys stop working."""
        self._connection.send("DELETE", path("service_accounts", account))

    def create_key(
        self,
        account: str,
        name: str,
        *,
        expires_in_days: float | None = None,
        scopes: Iterable[str] | None = None,
        templates: Iterable[str] | None = None,
    ) -> NewApiKey:
        """A new key, good for what its account may do: of that, for these verbs and these templates only, if given.

        This answer is the only sight of its text.
        """
        narrowed = {"scopes": scopes, "templates": templates}
        lists = {name: list(value) for name, value in narrowed.items() if value is not None}
        body = {**given(name=name, expires_in_days=expires_in_days), **lists}
        return self._connection.fetch(NewApiKey, "POST", path("service_accounts", account, "api_keys"), json=body)

    def keys(self, account: str, *, size: int = 20, cursor: str | None = None) -> Page[ApiKey]:
        """One page of the account's keys, as records."""
        query = {"size": size, "cursor": cursor}
        return self._connection.fetch(Page[ApiKey], "GET", path("service_accounts", account, "api_keys"), query=query)

    def revoke_key(self, account: str, key: str) -> None:
        """The key stops working, at once and for good."""
        self._connection.send("DELETE", path("service_accounts", account, "api_keys", key))

    def rotate_key(self, account: str, key: str, *, retain_minutes: float | None = None) -> NewApiKey:
        """A new text for the key; the old one works for `retain_minutes` more."""
        at = path("service_accounts", account, "api_keys", key, "rotate")
        return self._connection.fetch(NewApiKey, "POST", at, json=given(retain_minutes=retain_minutes))
