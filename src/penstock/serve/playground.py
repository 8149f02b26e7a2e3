"""The page at the root of a service: a form made from the schema of the pipeline, or a single-page application of one's own."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from contextlib import suppress
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from penstock.errors import NotFound, SourceNotFound
from penstock.model.deployment_settings import DeploymentSettings
from penstock.serve.service import Service

_PAGE = Path(__file__).with_name("playground.html")


def install(app: FastAPI, given: dict[str, Service], settings: DeploymentSettings, code: Path) -> None:
    """Serve the page, if it is wanted. Raises `SourceNotFound` for files of one's own that are not in `code`."""
    if "DASHBOARD" not in settings.include_default_endpoints:
        return
    if settings.dashboard_files_path is not None:
        _own_files(app, settings, code / settings.dashboard_files_path)
        return

    async def playground(_: Request) -> Response:
        text = _page(given["service"], settings)
        return HTMLResponse(text, headers={"content-security-policy": _policy(text)})

    app.add_route(f"{settings.root_url_path}/", playground, include_in_schema=False)


def _page(service: Service, settings: DeploymentSettings) -> str:
    plan, content = service.plan, service.plan.snapshot.content
    facts = {
        "deployment": plan.deployment_name,
        "pipeline": content.pipeline,
        "description": content.description or "",
        "schema": content.parameter_schema,
        "given": content.given.parameters,
        "invoke": settings.path("invoke"),
        "docs": settings.path("docs") if "DOCS" in settings.include_default_endpoints else None,
        "auth": plan.auth,
    }
    # "</script>" inside a description must not end the script.
    data = json.dumps(facts).replace("<", "\\u003c")
    return _PAGE.read_text().replace("__TITLE__", html.escape(plan.deployment_name)).replace("__FACTS__", data)


def _policy(page: str) -> str:
    """Nothing but what stands in this page may run or be fetched."""
    _, _, rest = page.partition("<script>")
    script, _, _ = rest.partition("</script>")
    _, _, rest = page.partition("<style>")
    style, _, _ = rest.partition("</style>")
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in (script, style)]
    return (
        f"default-src 'none'; script-src {hashes[0]}; style-src {hashes[1]}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )


def _own_files(app: FastAPI, settings: DeploymentSettings, directory: Path) -> None:
    root = directory.resolve()
    if not (root / "index.html").is_file():
        raise SourceNotFound(
            f"dashboard_files_path: there is no index.html in '{settings.dashboard_files_path}' of the code."
        )
    policy = {"content-security-policy": "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'self'"}
    api = (settings.api_url_path or "/api").lstrip("/") + "/"

    async def file(request: Request) -> Response:
        """A file; for a page of the application, which is no file, its index: it finds its own way from there."""
        path = request.path_params.get("path", "")
        wanted = _file_below(root, path)
        if wanted is not None:
            return FileResponse(wanted, headers=policy)
        is_page = "text/html" in request.headers.get("accept", "") and "." not in path.rpartition("/")[2]
        if path and (not is_page or path.startswith(api)):
            raise NotFound(f"Nothing is served under /{path}.")
        return FileResponse(root / "index.html", headers=policy)

    app.add_route(f"{settings.root_url_path}/{{path:path}}", file, include_in_schema=False)


def _file_below(root: Path, path: str) -> Path | None:
    """The file at `path`, if there is one. Raises `NotFound` for what lies elsewhere, and for what is no name of a file."""
    with suppress(OSError, ValueError):
        wanted = (root / path).resolve()
        if wanted.is_relative_to(root):
            return wanted if wanted.is_file() else None
    raise NotFound(f"Nothing is served under /{path}.")
