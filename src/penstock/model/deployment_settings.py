"""What can be said of a deployment: what the service looks like, what it bears, and what is kept of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal

from penstock.errors import InvalidInput, fault, pointer
from penstock.model.exact import Exact

ENDPOINTS = ("DOCS", "REDOC", "INVOKE", "SUBMIT", "HEALTH", "INFO", "METRICS", "DASHBOARD")
PATHS = ("docs", "redoc", "invoke", "submit", "health", "info", "metrics")
"""Endpoints whose place can be said."""

_GROUPS = {"DOC": ("DOCS", "REDOC"), "API": ENDPOINTS[2:7], "ALL": ENDPOINTS, "NONE": ()}
_MIDDLEWARE = {"CORS": ("CORS",), "SECURE_HEADERS": ("SECURE_HEADERS",), "ALL": ("CORS", "SECURE_HEADERS"), "NONE": ()}


def _refuse(at: str, message: str, allowed: Any = ()) -> InvalidInput:
    return InvalidInput(
        f"These deployment settings are not right: {message}", errors=[fault(at, message, allowed=allowed)]
    )


def _chosen(given: Any, groups: Mapping[str, tuple[str, ...]], at: str) -> tuple[str, ...]:
    """The members that the names in `given` stand for, in order."""
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise _refuse(pointer(at), "It is a name, or a list of names.", groups)
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise _refuse(pointer(at), f"There is no '{unknown[0]}'.", groups)
    return tuple(dict.fromkeys(member for name in names for member in groups[name]))


@dataclass(frozen=True, kw_only=True)
class CORSConfig(Exact):
    """Which web pages of elsewhere may call the service."""

    allow_origins: tuple[str, ...] = ("*",)
    allow_methods: tuple[str, ...] = ("GET", "POST", "OPTIONS")
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False

    def __post_init__(self) -> None:
        for name in ("allow_origins", "allow_methods", "allow_headers"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if self.allow_credentials and "*" in self.allow_origins:
            raise _refuse(
                "/cors/allow_origins", "With credentials the origins have to be named: '*' would let every page in."
            )


@dataclass(frozen=True, kw_only=True)
class SecureHeadersConfig(Exact):
    """Headers of every answer. True: a safe value; False: none; a text: that text."""

    server: Any = False
    hsts: Any = False
    xfo: Any = True
    content: Any = True
    csp: Any = True
    referrer: Any = True
    cache: Any = True
    permissions: Any = True

    _SAFE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "server": ("server", "penstock"),
        "hsts": ("strict-transport-security", "max-age=63072000; includeSubDomains"),
        "xfo": ("x-frame-options", "SAMEORIGIN"),
        "content": ("x-content-type-options", "nosniff"),
        "csp": ("content-security-policy", "default-src 'none'; frame-ancestors 'self'"),
        "referrer": ("referrer-policy", "strict-origin-when-cross-origin"),
        "cache": ("cache-control", "no-store"),
        "permissions": ("permissions-policy", "geolocation=(), microphone=(), camera=()"),
    }

    def __post_init__(self) -> None:
        wrong = [name for name in self._SAFE if not isinstance(getattr(self, name), bool | str)]
        if wrong:
            raise _refuse(pointer("secure_headers", wrong[0]), "Expected true, false or a text.")

    def headers(self) -> dict[str, str]:
        """Name -> value of those that are wanted."""
        found = {}
        for name, (header, safe) in self._SAFE.items():
            wanted = getattr(self, name)
            if wanted is not False:
                found[header] = safe if wanted is True else str(wanted)
        return found


@dataclass(frozen=True, kw_only=True)
class EndpointSpec(Exact):
    """A route of one's own. `handler` is a function or class, or the name of one, or of an application (`module:attribute`).

    With `native` it is what FastAPI takes as an endpoint, a class whose instances (made with `init_kwargs`) are called, or an
    ASGI application that has all below `path`, whatever the method; otherwise it is called with the service and `init_kwargs`
    first, and returns one of these. `extra_kwargs` go to FastAPI with the route.
    """

    path: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    handler: Any
    native: bool = True
    auth_required: bool = True
    init_kwargs: dict[str, Any] = field(default_factory=dict)
    extra_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_path(self.path, "path")
        _check_callable(self.handler, "handler")


@dataclass(frozen=True, kw_only=True)
class MiddlewareSpec(Exact):
    """An ASGI middleware: a class (or a function that takes the application), or its name. The lowest `order` is outermost.

    `async def middleware(app, scope, receive, send)` is one, too. `native` makes no difference: all of them are ASGI.
    """

    middleware: Any
    native: bool = True
    order: int = 0
    init_kwargs: dict[str, Any] = field(default_factory=dict)
    extra_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_callable(self.middleware, "middleware")


@dataclass(frozen=True, kw_only=True)
class AppExtensionSpec(Exact):
    """A function that is given the service with its FastAPI application (`.app`), or a class whose `install` is; or a name."""

    extension: Any
    extension_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_callable(self.extension, "extension")


@dataclass(frozen=True, kw_only=True)
class DeploymentSettings(Exact):
    """`settings={"deployment": ...}` of a pipeline. Times are in seconds."""

    app_title: str | None = None
    app_description: str | None = None
    app_version: str | None = None
    app_kwargs: dict[str, Any] = field(default_factory=dict)
    include_default_endpoints: Any = ("ALL",)
    """Which of our endpoints there are: DOCS REDOC INVOKE SUBMIT HEALTH INFO METRICS DASHBOARD, or DOC API ALL NONE."""

    include_default_middleware: Any = ("ALL",)
    """CORS SECURE_HEADERS, or ALL NONE."""

    root_url_path: str = ""
    api_url_path: str = ""
    docs_url_path: str = "/docs"
    redoc_url_path: str = "/redoc"
    invoke_url_path: str = "/invoke"
    submit_url_path: str = "/submit"
    health_url_path: str = "/health"
    info_url_path: str = "/info"
    metrics_url_path: str = "/metrics"
    dashboard_files_path: str | None = None
    """A directory with an `index.html`, relative to the root of the code: a single-page application in place of our page."""

    cors: CORSConfig = field(default_factory=CORSConfig)
    secure_headers: SecureHeadersConfig = field(default_factory=SecureHeadersConfig)
    thread_pool_size: int = 40
    """Requests that are carried out at once."""

    queue_size: int = 128
    """Requests that may wait for a thread. Who comes when there are so many is answered 503."""

    timeout: float | None = 300.0
    """Seconds after which a request is stopped, and answered 504."""

    async_execution_thread_pool_size: int = 8
    """Submitted requests that are carried out at once, besides the others."""

    submit_queue_size: int = 1000
    """Submitted requests that may wait. Who comes when there are so many is answered 503."""

    submit_timeout: float | None = 3600.0
    """Seconds after which a submitted request is stopped, counted from its beginning."""

    submit_attempts: int = 2
    """How often a submitted request is begun at most, if the process that carries it out dies. 1: it is never done twice."""

    submit_ttl: float = 24 * 3600.0
    """Seconds for which the result of a submitted request is kept, and for which its idempotency key holds."""

    on_disconnect: Literal["cancel", "finish"] = "cancel"
    """What becomes of the work if its caller hangs up."""

    drain: float = 30.0
    """Seconds that requests under way have when the service is told to stop."""

    auth: Literal["keys", "server"] = "keys"
    """Who may call: who has a key of the deployment (everybody, if it has none), or also accounts of the server that may run
    its pipeline."""

    auth_cache: float = 10.0
    """Seconds for which what the server says of an account holds; 0: it is asked each time."""

    errors: Literal["none", "message", "traceback"] = "message"
    """What callers learn of the error of a step."""

    patience: float = 20.0
    """Seconds that the head of a request may take, and its body besides the time that it needs at 16 KB/s."""

    max_body: int = 8 * 1024 * 1024
    max_batch: int = 100
    sample: float = 1.0
    """The share of requests that become runs in the record. Failed ones always do."""

    keep_artifacts: bool = False
    """Whether what steps make is kept as artifacts; otherwise values stay in memory."""

    flush_interval: float = 0.25
    """Seconds that the record of a request may wait for company before it is written to the disk."""

    spool_limit: int = 256 * 1024 * 1024
    """Bytes of records that wait on the disk for the server. When they are reached, further requests are only counted."""

    startup_hook: Any = None
    startup_hook_kwargs: dict[str, Any] = field(default_factory=dict)
    shutdown_hook: Any = None
    shutdown_hook_kwargs: dict[str, Any] = field(default_factory=dict)
    custom_endpoints: tuple[EndpointSpec, ...] = ()
    custom_middlewares: tuple[MiddlewareSpec, ...] = ()
    app_extensions: tuple[AppExtensionSpec, ...] = ()
    uvicorn_host: str = "127.0.0.1"
    uvicorn_port: int = 8000
    uvicorn_workers: int = 1
    uvicorn_reload: bool = False
    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = "info"
    uvicorn_kwargs: dict[str, Any] = field(default_factory=dict)

    _UVICORN: ClassVar[tuple[str, ...]] = (
        "access_log",
        "date_header",
        "forwarded_allow_ips",
        "headers",
        "limit_concurrency",
        "limit_max_requests",
        "limit_max_requests_jitter",
        "proxy_headers",
        "root_path",
        "server_header",
        "timeout_keep_alive",
        "use_colors",
    )
    """Options of uvicorn that are the pipeline's to say; the others are the keeper's."""

    _FASTAPI: ClassVar[tuple[str, ...]] = (
        "contact",
        "deprecated",
        "license_info",
        "openapi_external_docs",
        "openapi_tags",
        "redirect_slashes",
        "responses",
        "root_path",
        "root_path_in_servers",
        "separate_input_output_schemas",
        "servers",
        "strict_content_type",
        "summary",
        "swagger_ui_init_oauth",
        "swagger_ui_parameters",
        "terms_of_service",
    )

    def __post_init__(self) -> None:
        singles = {name: (name,) for name in ENDPOINTS}
        endpoints = _chosen(self.include_default_endpoints, {**singles, **_GROUPS}, "include_default_endpoints")
        middleware = _chosen(self.include_default_middleware, _MIDDLEWARE, "include_default_middleware")
        object.__setattr__(self, "include_default_endpoints", endpoints)
        object.__setattr__(self, "include_default_middleware", middleware)
        for name in ("custom_endpoints", "custom_middlewares", "app_extensions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_numbers()
        for name in ("startup_hook", "shutdown_hook"):
            if getattr(self, name) is not None:
                _check_callable(getattr(self, name), name)
        _check_directory(self.dashboard_files_path, "dashboard_files_path")
        _check_names(self.uvicorn_kwargs, self._UVICORN, "uvicorn_kwargs")
        _check_names(self.app_kwargs, self._FASTAPI, "app_kwargs")
        for one in fields(self):
            if one.name.endswith("_url_path") and one.name not in ("root_url_path", "api_url_path"):
                _check_path(getattr(self, one.name), one.name)
        for name in ("root_url_path", "api_url_path"):
            value = getattr(self, name).rstrip("/")
            object.__setattr__(self, name, value)
            if value:
                _check_path(value, name)

    def _check_numbers(self) -> None:
        least = {
            "thread_pool_size": 1,
            "queue_size": 0,
            "auth_cache": 0,
            "async_execution_thread_pool_size": 1,
            "submit_queue_size": 0,
            "submit_attempts": 1,
            "submit_ttl": 0,
            "drain": 0,
            "max_body": 1,
        }
        least |= {
            "max_batch": 1,
            "sample": 0,
            "flush_interval": 0,
            "spool_limit": 1,
            "uvicorn_workers": 1,
            "uvicorn_port": 0,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise _refuse(pointer(name), f"{getattr(self, name)!r} is less than {bound}.")
        for name in ("timeout", "submit_timeout", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise _refuse(pointer(name), f"{value!r} s is no time in which anything could be done.")
        if self.sample > 1:
            raise _refuse("/sample", f"{self.sample!r} is more than 1: it is a share.")
        if self.uvicorn_workers > 1 and self.uvicorn_reload:
            raise _refuse("/uvicorn_workers", "A service that reloads has one worker.")

    def path(self, name: str) -> str:
        """Where the endpoint `name` (`invoke`, `docs`, ...) is."""
        api = "" if name in ("docs", "redoc") else self.api_url_path
        own: str = getattr(self, f"{name}_url_path")
        return f"{self.root_url_path}{api}{own}"


def _check_callable(thing: Any, at: str) -> None:
    named = isinstance(thing, str) and thing.strip()
    if not named and (isinstance(thing, str) or not hasattr(thing, "__qualname__")):
        raise _refuse(pointer(at), f"{thing!r} is neither a function or class, nor the name of one (module:attribute).")


def _check_directory(path: str | None, at: str) -> None:
    if path is not None and (not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
        raise _refuse(pointer(at), f"'{path}' is no directory inside the code: write it relative to the code's root.")


def _check_names(given: Mapping[str, Any], allowed: tuple[str, ...], at: str) -> None:
    for name in given:
        if name not in allowed:
            mistake = fault(pointer(at, name), "This cannot be said here.", allowed=allowed, given=name)
            raise InvalidInput(f"These deployment settings are not right: {at} has '{name}'.", errors=[mistake])


def _check_path(path: str, name: str) -> None:
    if not path.startswith("/") or "//" in path or "?" in path or "#" in path:
        raise _refuse(pointer(name), f"'{path}' is no path: it begins with one '/', and has no '?' or '#'.")
