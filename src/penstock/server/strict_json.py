"""Bodies of requests, read as strict JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from penstock.model.strict_json import loads


class StrictRequest(Request):
    """A request whose body is read by `loads`."""

    async def json(self) -> Any:
        """The body as JSON values, read once."""
        if not hasattr(self, "_strict"):
            self._strict = loads(await self.body())
        return self._strict


class StrictRoute(APIRoute):
    """A route whose JSON bodies are read strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, on a strict request."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
