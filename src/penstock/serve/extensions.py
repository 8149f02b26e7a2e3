"""What a pipeline brings besides its steps: endpoints, middlewares and extensions of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount, compile_path
from starlette.types import ASGIApp, Scope

from penstock.author.source import load_function
from penstock.errors import AuthoringError
from penstock.model.deployment_settings import DeploymentSettings, EndpointSpec
from penstock.serve.service import Service


def extend(app: FastAPI, service: Service, settings: DeploymentSettings) -> None:
    """Put the endpoints and extensions of the settings into the application. Raises what they raise, and `SourceNotFound`."""
    ours = list(app.router.routes)
    for spec in settings.custom_endpoints:
        _add(app, service, spec, settings)
    for extension in settings.app_extensions:
        found = _loaded(extension.extension)
        install = getattr(found, "install", None)
        if isinstance(found, type):
            found(**extension.extension_kwargs).install(_Runner(app, service))
        elif install is not None:
            install(_Runner(app, service))
        else:
            found(_Runner(app, service), **extension.extension_kwargs)
    # What the pipeline brings goes before our page, which answers the root.
    fresh = [route for route in app.router.routes if route not in ours]
    app.router.routes[:] = [*fresh, *ours]
    app.openapi_schema = None


def guarded(settings: DeploymentSettings) -> Callable[[Scope], bool]:
    """Whether a request is for an endpoint of one's own that asks for a key."""
    rows = [
        (compile_path(f"{settings.root_url_path}{one.path}")[0], one.method)
        for one in settings.custom_endpoints
        if one.auth_required
    ]

    def asked(scope: Scope) -> bool:
        return any(scope["method"] == method and pattern.match(scope["path"]) for pattern, method in rows)

    return asked if rows else _never


def middlewares(settings: DeploymentSettings) -> list[Callable[[ASGIApp], ASGIApp]]:
    """The middlewares of the settings, the innermost first."""
    ordered = sorted(settings.custom_middlewares, key=lambda one: one.order, reverse=True)
    return [partial(_loaded(one.middleware), **one.init_kwargs, **one.extra_kwargs) for one in ordered]


class _Runner:
    """What an extension is given: the application and the service."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        self.app = self.asgi_app = app
        self.service = service


def _add(app: FastAPI, service: Service, spec: EndpointSpec, settings: DeploymentSettings) -> None:
    handler = _loaded(spec.handler)
    path = f"{settings.root_url_path}{spec.path}"
    if not spec.native or (isinstance(handler, type) and spec.init_kwargs):
        handler = handler(_Runner(app, service), **spec.init_kwargs) if not spec.native else handler(**spec.init_kwargs)
    if isinstance(handler, FastAPI) or getattr(handler, "routes", None) is not None:
        app.router.routes.append(Mount(path, handler))
    else:
        app.add_api_route(path, handler, methods=[spec.method], **spec.extra_kwargs)


def _loaded(thing: Any) -> Any:
    if isinstance(thing, str):
        return load_function(thing)
    if not callable(thing) and not hasattr(thing, "install"):
        raise AuthoringError(f"{thing!r} is neither a function or class, nor the name of one.")
    return thing


def _never(_: Scope) -> bool:
    return False
