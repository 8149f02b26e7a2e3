"""Trust in tokens of other issuers."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.client.connection import Connection, given, path
from penstock.client.page import Page
from penstock.model.trust import Trust


class Trusts:
    """`trust` is an id or a name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        issuer: str,
        audience: str,
        account: str,
        conditions: Mapping[str, str],
        max_lifetime: int | None = None,
        single_use: bool | None = None,
    ) -> Trust:
        """Tokens of `issuer` for `audience` whose claims meet the conditions stand for the service account."""
        body = given(
            name=name,
            issuer=issuer,
            audience=audience,
            account=account,
            conditions=conditions,
            max_lifetime=max_lifetime,
            single_use=single_use,
        )
        return self._connection.fetch(Trust, "POST", "/trusts", json=body)

    def get(self, trust: str) -> Trust:
        """The trust. Raises `NotFound`."""
        return self._connection.fetch(Trust, "GET", path("trusts", trust))

    def list(self, *, size: int = 20, cursor: str | None = None) -> Page[Trust]:
        """One page of trusts."""
        return self._connection.fetch(Page[Trust], "GET", "/trusts", query={"size": size, "cursor": cursor})

    def delete(self, trust: str) -> None:
        """Trust no more, from now on."""
        self._connection.send("DELETE", path("trusts", trust))
