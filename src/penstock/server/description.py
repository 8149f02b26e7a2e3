"""The OpenAPI document of the server: what FastAPI knows of the routes, and what holds for all of them besides."""

from __future__ import annotations

from threading import Lock
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute

from penstock.server.noun import Noun, StrictRoute
from penstock.server.problems import MEDIA_TYPE
from penstock.server.template_openapi import PROBLEM

_REFUSED = {
    "description": "It was refused, and nothing has changed.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")


class Application(FastAPI):
    """FastAPI, with nouns, and a document that says how this server refuses."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(openapi_url=None, **settings)
        self._describing = Lock()

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes, those of the nouns one by one."""
        return [route for one in super().routes for route in (one.routes if isinstance(one, Noun) else [one])]

    def add(self, noun: Noun) -> None:
        """Have the routes of a noun tried where no earlier one is meant."""
        self.router.routes.append(cast(BaseRoute, noun))

    def publish(self, path: str) -> None:
        """Have the document served at `path`. Making it takes a second, in which all others are served."""
        self.add_route(path, self._document, include_in_schema=False)

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        with self._describing:
            if self.openapi_schema is None:
                for route in self.routes:
                    if isinstance(route, StrictRoute):
                        route.describe()
                self.openapi_schema = _completed(super().openapi())
            return self.openapi_schema

    def _document(self, request: Request) -> Response:
        """A plain function: Starlette calls it in a thread, not on the event loop."""
        place = request.scope["root_path"].rstrip("/")
        return JSONResponse(self.openapi() | ({"servers": [{"url": place}]} if place else {}))


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """Every refusal is a problem document; FastAPI takes those of its own checks to be something else."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _REFUSED
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FASTAPIS_OWN:
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    return document
