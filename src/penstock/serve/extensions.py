"""What a pipeline brings besides its steps: endpoints, middlewares and extensions of its own."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.author.source import load_function
from penstock.errors import AuthoringError, fault, pointer
from penstock.model.deployment_settings import DeploymentSettings, EndpointSpec
from penstock.serve.service import Service

Functions = Callable[[str], Callable[..., Any] | None]
"""The function that the pipeline itself was given under a name."""

Check = Callable[[Scope], Awaitable[None]]


def extend(app: FastAPI, service: Service, settings: DeploymentSettings, check: Check, functions: Functions) -> None:
    """Put the endpoints and extensions of the settings into the application. Raises what they raise, and `SourceNotFound`.

    `check` raises for a request without a key.
    """
    ours = list(app.router.routes)
    runner = _Runner(app, service)
    for number, spec in enumerate(settings.custom_endpoints):
        _add(runner, spec, _handler(runner, spec, _loaded(spec.handler, functions), number), check)
    for extension in settings.app_extensions:
        _extend(runner, _loaded(extension.extension, functions), extension.extension_kwargs)
    # What the pipeline brings goes before our page, which answers the root.
    fresh = [route for route in app.router.routes if route not in ours]
    app.router.routes[:] = [*fresh, *ours]
    app.openapi_schema = None


def middlewares(settings: DeploymentSettings, functions: Functions) -> list[Callable[[ASGIApp], ASGIApp]]:
    """The middlewares of the settings, the innermost first."""
    ordered = sorted(settings.custom_middlewares, key=lambda one: one.order, reverse=True)
    return [_middleware(_loaded(one.middleware, functions), one.init_kwargs | one.extra_kwargs) for one in ordered]


class _Runner:
    """What an extension is given: the application and the service."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        self.app = self.asgi_app = app
        self.service = service
        self.root = service.settings.root_url_path


class _Guarded:
    """An application behind a check."""

    def __init__(self, app: ASGIApp, check: Check) -> None:
        self._app, self._check = app, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what passes the check; what does not raises."""
        await self._check(scope)
        await self._app(scope, receive, send)


def _middleware(found: Any, given: dict[str, Any]) -> Callable[[ASGIApp], ASGIApp]:
    if inspect.iscoroutinefunction(found):
        return lambda app: partial(found, app, **given)
    return partial(found, **given)


def _extend(runner: _Runner, found: Any, given: dict[str, Any]) -> None:
    if isinstance(found, type):
        found(**given).install(runner)
    elif hasattr(found, "install"):
        found.install(runner, **given)
    else:
        found(runner, **given)


def _handler(runner: _Runner, spec: EndpointSpec, found: Any, number: int) -> Any:
    if not spec.native:
        return found(runner, **spec.init_kwargs)
    if isinstance(found, type):
        return found(**spec.init_kwargs)
    if spec.init_kwargs:
        mistake = fault(
            pointer("custom_endpoints", number, "init_kwargs"), "Nothing is made here that would take them."
        )
        raise AuthoringError(f"The endpoint {spec.path} is a function, and not called to begin with.", errors=[mistake])
    return found


def _add(runner: _Runner, spec: EndpointSpec, handler: Any, check: Check) -> None:
    path = f"{runner.root}{spec.path}"
    if getattr(handler, "routes", None) is not None:
        runner.app.router.routes.append(Mount(path, _Guarded(handler, check) if spec.auth_required else handler))
        return
    more = dict(spec.extra_kwargs)
    asked = spec.auth_required and runner.service.plan.auth
    if asked:
        more["openapi_extra"] = {"security": [{"key": []}], **more.get("openapi_extra", {})}
    runner.app.add_api_route(path, handler, methods=[spec.method], **more)
    route: Any = runner.app.router.routes[-1]
    if spec.auth_required:
        route.app = _Guarded(route.app, check)


def _loaded(thing: Any, functions: Functions) -> Any:
    """What a name stands for: the very thing that the pipeline was given, or what can be imported under it."""
    return functions(thing) or load_function(thing) if isinstance(thing, str) else thing
