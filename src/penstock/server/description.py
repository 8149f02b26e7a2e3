"""The OpenAPI document of the server: what FastAPI knows of the routes, and what holds for all of them besides."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI
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

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes, those of the nouns one by one."""
        return [route for one in super().routes for route in (one.routes if isinstance(one, Noun) else [one])]

    def add(self, noun: Noun) -> None:
        """Have the routes of a noun tried where no earlier one is meant."""
        self.router.routes.append(cast(BaseRoute, noun))

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            for route in self.routes:
                if isinstance(route, StrictRoute):
                    route.describe()
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


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
