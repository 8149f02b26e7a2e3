"""A pipeline that brings all that one may bring: endpoints, middlewares, extensions, hooks, and a page of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock import pipeline, step

LOG = Path(os.environ.get("EXTENDED_LOG", "hooks.log"))


@step
def double(number: int) -> int:
    return 2 * number


# Endpoints


async def hello(name: str = "you") -> dict[str, str]:
    """Say hello."""
    return {"hello": name}


async def open_hello() -> dict[str, str]:
    return {"hello": "everybody"}


def counting(runner: Any, start: int) -> Any:
    """An endpoint that knows the service."""
    calls = {"count": start}

    def count() -> dict[str, Any]:
        calls["count"] += 1
        return {"count": calls["count"], "pipeline": runner.service.pipeline_name}

    return count


class Echo:
    """An endpoint with a state of its own."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Give back what came."""
        return {self.greeting: item}


async def _inside(request: Request) -> JSONResponse:
    return JSONResponse({"inside": request.path_params.get("rest", "")})


inner = Starlette(routes=[Route("/", _inside), Route("/{rest:path}", _inside, methods=["GET", "POST"])])


async def own_health() -> dict[str, str]:
    return {"status": "in the best of health"}


# Middlewares


class Stamped:
    """Puts a header on each answer."""

    def __init__(self, app: ASGIApp, mark: str) -> None:
        self.app, self.mark = app, mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.mark.encode())]
            await send(message)

        await self.app(scope, receive, stamped if scope["type"] == "http" else send)


async def teapot(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one path itself, whatever is behind it."""
    if scope["type"] == "http" and scope["path"] == "/teapot":
        await JSONResponse({"short": "stout"}, 418)(scope, receive, send)
    else:
        await app(scope, receive, send)


# Extensions


def shouting(runner: Any, word: str) -> None:
    @runner.app.get("/shout")
    def shout() -> dict[str, str]:
        return {"shout": word.upper()}


class Whispering:
    def __init__(self, word: str) -> None:
        self.word = word

    def install(self, runner: Any) -> None:
        @runner.app.get("/whisper")
        def whisper() -> dict[str, str]:
            return {"whisper": self.word.lower()}


# Hooks


def started(service: Any, word: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{word} {service.pipeline_name}\n")


def stopped(word: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{word}\n")


SETTINGS: dict[str, Any] = {
    "custom_endpoints": [
        {"path": "/hello", "handler": hello, "auth_required": False},
        {"path": "/kept/hello", "handler": hello, "extra_kwargs": {"summary": "Hello to those who may"}},
        {"path": "/count", "method": "POST", "handler": counting, "native": False, "init_kwargs": {"start": 5}},
        {"path": "/echo", "method": "PUT", "handler": Echo, "init_kwargs": {"greeting": "got"}},
        {"path": "/inner", "handler": "extended:inner"},
        {"path": "/health", "handler": "extended:own_health", "auth_required": False},
    ],
    "custom_middlewares": [
        {"middleware": Stamped, "order": 2, "init_kwargs": {"mark": "inside"}},
        {"middleware": "extended:Stamped", "order": 1, "init_kwargs": {"mark": "outside"}},
        {"middleware": teapot},
    ],
    "app_extensions": [
        {"extension": shouting, "extension_kwargs": {"word": "loud"}},
        {"extension": Whispering, "extension_kwargs": {"word": "SOFT"}},
    ],
    "startup_hook": started,
    "startup_hook_kwargs": {"word": "hello"},
    "shutdown_hook": stopped,
    "shutdown_hook_kwargs": {"word": "bye"},
}


@pipeline(settings={"deployment": SETTINGS})
def extended(number: int) -> int:
    """Double a number, among much else."""
    return double(number)
