"""The routes of one noun: their bodies are strict JSON, and only what is addressed to the noun is held against them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from penstock.model.strict_json import loads
from penstock.server.auditing import watched

API = "/api/v1"
"""What all addresses of nouns begin with."""


def operation_id(route: APIRoute) -> str:
    """What generated clients call the operation: as its function is called."""
    return route.name


class StrictRequest(Request):
    """A request whose body is read by `loads`."""

    async def json(self) -> Any:
        """The body as JSON values, read once."""
        if not hasattr(self, "_strict"):
            self._strict = loads(await self.body())
        return self._strict


class StrictRoute(APIRoute):
    """A route whose JSON bodies are read strictly, and whose answers are described when somebody asks.

    Endpoints make their answers themselves, so the kind of an answer serves the OpenAPI document only. To work out all of
    them would be a third of a second of every start.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], *, response_model: Any = None, **options: Any) -> None:
        super().__init__(path, endpoint, response_model=None, **options)
        self._answer = None if isinstance(response_model, DefaultPlaceholder) else response_model

    def describe(self) -> None:
        """Have the OpenAPI document say what the answers are."""
        if self._answer is not None and self.response_field is None:
            name = f"Response_{self.unique_id}"
            self.response_field = create_model_field(name=name, type_=self._answer, mode="serialization")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, on a strict request."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await watched(StrictRequest(request.scope, request.receive), handler)

        return strict


class Noun(APIRouter):
    """The routes of the addresses that begin with `prefix`, as one entry of the application's table.

    FastAPI tries the pattern of every route of every router in turn; with some eighty routes that is a fifth of the time
    that a trigger takes. Here one look at the address passes over all routes of the other nouns. And what is included by
    FastAPI's own means is worked out once more at the first request: 0.4 s for who comes first to a noun.
    """

    def __init__(self, prefix: str, tag: str) -> None:
        super().__init__(
            prefix=f"{API}{prefix}", tags=[tag], route_class=StrictRoute, generate_unique_id_function=operation_id
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether one of the routes is meant."""
        best = Match.NONE
        if scope["path"].removeprefix(scope.get("root_path", "")).startswith(self.prefix):
            for route in self.routes:
                match, _ = route.matches(scope)
                if match is Match.FULL:
                    return match, {}
                best = max(best, match, key=lambda one: one.value)
        return best, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the route that is meant answer."""
        await self.app(scope, receive, send)
