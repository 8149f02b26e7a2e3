"""What a pipeline brings to its service, and how it wants it to look: all of it over real HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.service_under_test import Service, begun
from tests.acceptance.site_under_test import PATIENCE, Site, eventually
from tests.ports import FIRST_PORT

PIPELINES = Path(__file__).parent / "pipelines"
EXTENDED = (PIPELINES / "extended.py").read_text()
SMALL = """
from pathlib import Path

from penstock import pipeline, step


@step
def double(number: int) -> int:
    return 2 * number


@pipeline(settings={"deployment": SETTINGS})
def small(number: int) -> int:
    return double(number)
"""
PAGE = "<title>mine</title>"

Start = Callable[..., Service]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that serves a pipeline under some settings."""
    started: list[Service] = []

    def make(*, ready: str = "/ready", files: dict[str, str] | None = None, **settings: Any) -> Service:
        sources = {"small.py": SMALL.replace("SETTINGS", repr(settings)), **(files or {})}
        started.append(begun(tmp_path_factory.mktemp("project"), sources, "small:small", "--no-reload", ready=ready))
        return started[-1]

    yield make
    assert [one.stop() for one in started] == [0] * len(started)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The pipeline that brings everything, in the foreground."""
    service = begun(tmp_path_factory.mktemp("project"), {"extended.py": EXTENDED}, "extended:extended", "--no-reload")
    yield service
    service.stop()


def invoke(client: httpx.Client, path: str = "/invoke") -> Any:
    return client.post(path, json={"parameters": {"number": 21}}).json()["outputs"]


# What it brings


def test_endpoints_of_ones_own(extended: Service) -> None:
    client = extended.client
    assert client.get("/hello", params={"name": "me"}).json() == {"hello": "me"}
    assert [client.post("/count").json()["count"] for _ in range(2)] == [6, 7]
    assert client.post("/count").json()["pipeline"] == "extended"
    assert client.put("/echo", json={"a": 1}).json() == {"got": {"a": 1}}
    assert client.get("/inner/a/b").json() == {"inside": "a/b"}
    assert client.get("/health").json() == {"status": "in the best of health"}
    assert client.delete("/hello").status_code == 405
    assert invoke(client) == {"output": 42}
    document = client.get("/openapi.json").json()
    assert document["paths"]["/kept/hello"]["get"]["summary"] == "Hello to those who may"
    assert {"/count", "/echo", "/invoke"} <= set(document["paths"])
    refused = client.put("/echo", content=b"\x8f{", headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert "application/problem+json" in document["paths"]["/echo"]["put"]["responses"]["default"]["content"]


def test_middlewares_of_ones_own(extended: Service) -> None:
    answer = extended.client.get("/hello")
    assert answer.headers.get_list("x-stamp") == ["inside", "outside"]
    assert extended.client.get("/teapot").status_code == 418
    assert extended.client.post("/invoke", json={}).headers.get_list("x-stamp") == ["inside", "outside"]


def test_extensions(extended: Service) -> None:
    assert extended.client.get("/shout").json() == {"shout": "LOUD"}
    assert extended.client.get("/whisper").json() == {"whisper": "soft"}


def test_hooks_are_called_once_each(tmp_path: Path) -> None:
    service = begun(tmp_path, {"extended.py": EXTENDED}, "extended:extended", "--no-reload")
    log = tmp_path / "hooks.log"
    assert log.read_text() == "hello extended\n"
    assert service.stop() == 0
    assert log.read_text() == "hello extended\nbye\n"


def test_a_hook_that_fails_keeps_the_service_from_coming_up(tmp_path: Path, new_site: Callable[..., Site]) -> None:
    site = new_site()
    text = EXTENDED.replace('log.write(f"{word} {service.pipeline_name}\\n")', 'raise OSError("no model here")')
    (tmp_path / "extended.py").write_text(text)
    done = site.penstock("pipeline", "deploy", "extended.py:extended", "--name", "broken", cwd=tmp_path, status=None)
    assert done.returncode != 0
    assert "no model here" in done.stderr


def test_what_a_deployment_brings_asks_for_its_key(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    (tmp_path / "extended.py").write_text(EXTENDED)
    command = ("pipeline", "deploy", "extended.py:extended", "--name", "kept", "--generate-key", "-o", "json")
    made = json.loads(site.penstock(*command, cwd=tmp_path).stdout)
    headers = {"Authorization": f"Bearer {made['key']}"}
    guarded = [("GET", "/kept/hello"), ("POST", "/count"), ("PUT", "/echo"), ("GET", "/inner/"), ("POST", "/inner/a")]
    with httpx.Client(base_url=made["deployment"]["url"], timeout=PATIENCE) as client:
        for method, path in (*guarded, ("GET", "/inner/a/../b"), ("GET", "//inner/a")):
            answer = client.request(method, path, json={})
            assert answer.status_code in (401, 404), (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        for method, path in guarded:
            assert client.request(method, path, json={}).status_code == 401
            answer = client.request(method, path, json={}, headers=headers)
            assert answer.status_code == 200, (path, answer.text)
        assert client.get("/hello").status_code == 200
        document = client.get("/openapi.json").json()
        assert document["paths"]["/kept/hello"]["get"]["security"] == [{"key": []}]
        assert "security" not in document["paths"]["/hello"]["get"]


# How it looks


def test_files_of_ones_own(start: Start) -> None:
    files = {
        "site/index.html": PAGE,
        "site/assets/app.js": "let a = 1",
        "site/.env": "hidden",
        "secret.txt": "swordfish",
        "site_of_others/x.txt": "swordfish",
    }
    service = start(dashboard_files_path="site", files=files)
    client = service.client
    (service.project / "site" / "out").symlink_to(service.project / "secret.txt")
    assert PAGE in client.get("/").text
    assert (
        client.get("/assets/app.js").headers["content-type"].startswith(("text/javascript", "application/javascript"))
    )
    assert PAGE in client.get("/a/page", headers={"accept": "text/html"}).text
    assert client.get("/a/page").status_code == 404
    assert client.get("/assets/none.js", headers={"accept": "text/html"}).status_code == 404
    assert client.get("/ready").json() == {"status": "ready"}
    assert invoke(client) == {"output": 42}
    for path in TRAVERSALS:
        told = _raw(client, path)
        assert b"swordfish" not in told, path
        assert told.split(b" ", 2)[1] in (b"404", b"400"), (path, told[:200])


TRAVERSALS = [
    "/../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/assets/../../secret.txt",
    "/assets/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..%252fsecret.txt",
    "//secret.txt",
    "/%2fetc/passwd",
    "/..%2fsite_of_others/x.txt",
    "/out",
    "/index.html%00.txt",
    "/" + "a" * 5000,
]


def _raw(client: httpx.Client, path: str) -> bytes:
    """The answer to a path that no client would send as it is."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=PATIENCE) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while data := caller.recv(65536):
            parts.append(data)
    return b"".join(parts)


def test_paths_are_where_they_are_wanted(start: Start) -> None:
    client = start(
        ready="/svc/api/ready",
        root_url_path="/svc",
        api_url_path="/api",
        invoke_url_path="/predict",
        docs_url_path="/manual",
        include_default_endpoints=["DOCS", "INVOKE", "HEALTH", "INFO"],
    ).client
    assert invoke(client, "/svc/api/predict") == {"output": 42}
    told = client.post("/svc/api/predict/batch", json={"requests": [{"parameters": {"number": 1}}]})
    assert told.json()["results"][0]["outputs"] == {"output": 2}
    assert client.get("/svc/manual").status_code == 200
    assert client.get("/svc/api/info").json()["app"]["invoke_url_path"] == "/svc/api/predict"
    assert {"/svc/api/predict", "/svc/api/health"} <= set(client.get("/svc/openapi.json").json()["paths"])
    for path in ("/invoke", "/svc/invoke", "/ready", "/svc/redoc", "/svc/api/metrics", "/svc/", "/"):
        assert client.get(path).status_code == 404, path


def test_pages_of_elsewhere_may_call_it_or_not(start: Start) -> None:
    open_one = start().client
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert open_one.options("/invoke", headers=asked).headers["access-control-allow-origin"] == "*"
    named = start(cors={"allow_origins": ["https://a.example"], "allow_credentials": True}).client
    answer = named.options("/invoke", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    refused = named.options("/invoke", headers={**asked, "Origin": "https://b.example"})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in named.get("/info", headers={"Origin": "https://b.example"}).headers


def test_headers_of_every_answer(start: Start) -> None:
    plain = start().client
    for method, path in (("GET", "/health"), ("GET", "/nothing"), ("POST", "/invoke"), ("GET", "/")):
        headers = plain.request(method, path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "SAMEORIGIN", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "strict-transport-security" not in headers
        assert "server" not in headers
    assert "https://cdn.jsdelivr.net" in plain.get("/docs").headers["content-security-policy"]
    assert "cdn.jsdelivr.net" in plain.get("/docs").text
    own = start(secure_headers={"xfo": "DENY", "csp": False, "hsts": True}).client.get("/docs").headers
    assert own["x-frame-options"] == "DENY"
    assert "content-security-policy" not in own
    assert own["strict-transport-security"].startswith("max-age=")
    bare = start(include_default_middleware=[]).client.get("/health", headers={"Origin": "https://a.example"}).headers
    assert not {"x-frame-options", "access-control-allow-origin"} & set(bare)


def test_options_of_the_application_and_of_uvicorn(start: Start) -> None:
    service = start(
        app_title="Doubler",
        app_version="7.1",
        app_kwargs={"summary": "It doubles."},
        max_body=2000,
        uvicorn_kwargs={"headers": [["x-served-by", "me"]], "access_log": True},
        log_level="debug",
    )
    client = service.client
    information = client.get("/openapi.json").json()["info"]
    assert (information["title"], information["version"], information["summary"]) == ("Doubler", "7.1", "It doubles.")
    assert client.get("/health").headers["x-served-by"] == "me"
    answer = client.post("/invoke", content=b" " * 3000)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert "GET /health" in service.said
    assert invoke(client) == {"output": 42}


def test_several_processes_share_one_port(start: Start) -> None:
    service = start(uvicorn_workers=2)
    workers = psutil.Process(service.process.pid).children()
    assert len(workers) == 2
    workers[0].kill()
    with httpx.Client(base_url=service.client.base_url, timeout=PATIENCE) as client:
        assert invoke(client) == {"output": 42}


# What is kept


def test_artifacts_are_kept_where_they_are_wanted(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    url = _deployed(site, tmp_path, keep_artifacts=True)
    kept = _asked(url, {"parameters": {"number": 4}})
    left_out = _asked(url, {"parameters": {"number": 5}, "skip_artifact_materialization": True})
    eventually(lambda: site.api.get(f"/runs/{left_out}").status_code == 200, what="the records")
    artifacts = site.get("/artifacts", run_id=kept)["items"]
    assert [(one["step"], one["output"]) for one in artifacts] == [("double", "output")]
    [file] = artifacts[0]["files"]
    value = site.api.get(f"/artifacts/{artifacts[0]['id']}/files/{file['name']}")
    assert value.json() == 8
    assert site.get("/artifacts", run_id=left_out)["items"] == []
    assert site.get(f"/runs/{left_out}")["outputs"] == {"output": 10}


def test_a_share_of_what_went_well_is_kept_and_all_that_failed(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    url = _deployed(site, tmp_path, change=lambda text: text.replace("2 * number", "4 // number"), sample=0.0)
    told = [_asked(url, {"parameters": {"number": number}}) for number in (1, 0, 2, 0, 4)]

    def failed() -> bool:
        return {one["id"] for one in site.get("/runs")["items"]} >= {told[1], told[3]}

    eventually(failed, what="the runs that failed")
    assert {one["state"] for one in site.get("/runs")["items"]} == {"failed"}
    assert httpx.get(f"{url}/info").json()["total_executions"] == 5


def test_other_machines_are_let_in_with_a_key_only(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site()
    (tmp_path / "small.py").write_text(
        SMALL.replace("SETTINGS", repr({"uvicorn_host": "0.0.0.0", "uvicorn_port": FIRST_PORT}))
    )
    command = ("pipeline", "deploy", "small.py:small", "--name", "wide")
    refused = site.penstock(*command, cwd=tmp_path, status=None)
    assert refused.returncode != 0
    assert "open to other machines" in refused.stderr
    made = json.loads(site.penstock(*command, "--update", "--generate-key", "-o", "json", cwd=tmp_path).stdout)
    url = made["deployment"]["url"]
    assert url.startswith("http://127.0.0.1:")
    assert httpx.post(f"{url}/invoke", json={"parameters": {"number": 1}}).status_code == 401


def _deployed(site: Site, project: Path, change: Callable[[str], str] = lambda text: text, **settings: Any) -> str:
    (project / "small.py").write_text(change(SMALL.replace("SETTINGS", repr({"uvicorn_port": FIRST_PORT, **settings}))))
    done = site.penstock("pipeline", "deploy", "small.py:small", "--name", "small", "-o", "json", cwd=project)
    return str(json.loads(done.stdout)["url"])


def _asked(url: str, body: dict[str, Any]) -> str:
    answer = httpx.post(f"{url}/invoke", json=body, timeout=PATIENCE)
    return str(answer.json()["metadata"]["run_id"])
