"""What a pipeline brings, put into an application that no server runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import AuthoringError, SourceNotFound, Unauthenticated
from penstock.model.deployment_settings import AppExtensionSpec, DeploymentSettings, EndpointSpec, MiddlewareSpec
from penstock.serve import extensions


def hello() -> dict[str, str]:
    return {"said": "hello"}


def other() -> dict[str, str]:
    return {"said": "other"}


async def shut(scope: Scope) -> None:
    raise Unauthenticated("No.")


async def open_to_all(scope: Scope) -> None:
    return None


def named(**functions: Callable[..., Any]) -> extensions.Functions:
    return functions.get


def extended(
    *endpoints: EndpointSpec,
    app: FastAPI | None = None,
    check: extensions.Check = open_to_all,
    functions: extensions.Functions = lambda _: None,
    auth: bool = False,
    **said: Any,
) -> FastAPI:
    made = app or FastAPI()
    settings = DeploymentSettings(custom_endpoints=endpoints, **said)
    service = SimpleNamespace(settings=settings, plan=SimpleNamespace(auth=auth))
    extensions.extend(made, cast(Any, service), settings, check, functions)
    return made


def ask(app: ASGIApp, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of an answer."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "server": ("test", 80),
    }

    async def work() -> None:
        await app(scope, receive, send)

    asyncio.run(work())
    return said[0]["status"], b"".join(one.get("body", b"") for one in said[1:])


# Endpoints


def test_what_the_pipeline_brings_goes_before_what_was_there_and_the_first_of_one_name_answers() -> None:
    app = FastAPI()
    app.add_api_route("/", other)
    specs = (EndpointSpec(path="/", handler=hello), EndpointSpec(path="/", handler=other))
    assert ask(extended(*specs, app=app), "/") == (200, b'{"said":"hello"}')


def test_the_functions_of_the_pipeline_are_known_by_their_names_before_modules_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("brought")
    module.hello = module.more = other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brought", module)
    specs = [
        EndpointSpec(path=f"/{name}", handler=f"brought:{name}", auth_required=False) for name in ("hello", "more")
    ]
    app = extended(*specs, functions=named(**{"brought:hello": hello}))
    assert ask(app, "/hello")[1] == b'{"said":"hello"}'
    assert ask(app, "/more")[1] == b'{"said":"other"}'


@pytest.mark.parametrize("name", ["brought_nowhere:x", "sys:nothing", "nameless"])
def test_a_name_that_stands_for_nothing_keeps_it_from_coming_up(name: str) -> None:
    with pytest.raises(SourceNotFound, match=name):
        extended(EndpointSpec(path="/x", handler=name))


def test_a_factory_that_raises_keeps_it_from_coming_up_with_its_own_words() -> None:
    def factory(runner: Any, **given: Any) -> Any:
        raise ValueError(f"cannot be made with {given['a']}")

    with pytest.raises(ValueError, match="cannot be made with 1"):
        extended(EndpointSpec(path="/x", handler=factory, native=False, init_kwargs={"a": 1}))


def test_classes_and_factories_are_given_what_is_said_and_functions_cannot_be() -> None:
    class Greeter:
        def __init__(self, word: str) -> None:
            self._word = word

        def __call__(self) -> str:
            return self._word

    def factory(runner: Any, word: str) -> Callable[[], str]:
        return lambda: f"{word} {runner.root}"

    made = extended(
        EndpointSpec(path="/class", handler=Greeter, init_kwargs={"word": "hi"}),
        EndpointSpec(path="/factory", handler=factory, native=False, init_kwargs={"word": "at"}),
        root_url_path="/svc",
    )
    assert ask(made, "/svc/class") == (200, b'"hi"')
    assert ask(made, "/svc/factory") == (200, b'"at /svc"')
    assert ask(made, "/class")[0] == 404
    with pytest.raises(AuthoringError) as refused:
        extended(
            EndpointSpec(path="/a", handler=hello), EndpointSpec(path="/b", handler=hello, init_kwargs={"word": 1})
        )
    assert [one["pointer"] for one in refused.value.errors] == ["/custom_endpoints/1/init_kwargs"]


def test_what_is_guarded_asks_for_a_key_whatever_it_is_and_says_so() -> None:
    inner = FastAPI()
    inner.add_api_route("/deep", hello)
    app = extended(
        EndpointSpec(path="/inner", handler="brought:inner"),
        EndpointSpec(path="/guarded", handler=hello),
        EndpointSpec(path="/open", handler=hello, auth_required=False),
        check=shut,
        functions=named(**{"brought:inner": inner}),
        auth=True,
    )
    for path in ("/inner/deep", "/inner/nothing", "/guarded"):
        with pytest.raises(Unauthenticated):
            ask(app, path)
    assert ask(app, "/open")[0] == 200
    told = app.openapi()["paths"]
    assert told["/guarded"]["get"]["security"] == [{"key": []}]
    assert "security" not in told["/open"]["get"]
    bare = extended(EndpointSpec(path="/guarded", handler=hello)).openapi()["paths"]
    assert "security" not in bare["/guarded"]["get"]


# Extensions


def test_an_extension_is_a_class_a_function_or_whatever_can_be_installed() -> None:
    told: list[Any] = []

    class Counted:
        def __init__(self, start: int) -> None:
            self._start = start

        def install(self, runner: Any) -> None:
            told.append(("class", self._start))
            runner.app.add_api_route("/added", hello)

    def plain(runner: Any, **given: Any) -> None:
        told.append(("function", given))

    def install(runner: Any, **given: Any) -> None:
        told.append(("installed", given))

    def thing() -> None: ...

    thing.install = install  # type: ignore[attr-defined]
    app = extended(
        app_extensions=(
            AppExtensionSpec(extension=Counted, extension_kwargs={"start": 3}),
            AppExtensionSpec(extension=plain, extension_kwargs={"a": 1}),
            AppExtensionSpec(extension=thing),
        )
    )
    assert told == [("class", 3), ("function", {"a": 1}), ("installed", {})]
    assert ask(app, "/added")[0] == 200


def test_an_extension_that_raises_keeps_it_from_coming_up() -> None:
    def broken(runner: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        extended(app_extensions=(AppExtensionSpec(extension=broken),))


# Middlewares


def test_the_lowest_order_is_outermost_and_equal_ones_stand_as_they_were_written() -> None:
    told: list[str] = []

    class Marks:
        def __init__(self, app: ASGIApp, word: str) -> None:
            self._app, self._word = app, word

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            told.append(self._word)
            await self._app(scope, receive, send)

    async def marks(app: ASGIApp, scope: Scope, receive: Receive, send: Send, word: str) -> None:
        told.append(word)
        await app(scope, receive, send)

    settings = DeploymentSettings(
        custom_middlewares=(
            MiddlewareSpec(middleware=marks, order=5, init_kwargs={"word": "inner"}),
            MiddlewareSpec(middleware=Marks, order=-1, init_kwargs={"word": "a"}, extra_kwargs={"word": "outer"}),
            MiddlewareSpec(middleware="by:name", order=1, init_kwargs={"word": "middle"}),
        )
    )
    outer: ASGIApp = extended(EndpointSpec(path="/x", handler=hello))
    for middleware in extensions.middlewares(settings, named(**{"by:name": Marks})):
        outer = middleware(outer)
    assert ask(outer, "/x")[0] == 200
    assert told == ["outer", "middle", "inner"]
