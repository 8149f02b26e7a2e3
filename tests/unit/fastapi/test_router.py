from __future__ import annotations

import subprocess
import sys

import pytest
from fastapi import FastAPI

from penstock.errors import InvalidInput
from penstock.fastapi import trigger_router

KEY = "a key that is long enough"


_HEADER_NAMES = ("Idempotency-Key", "Idempotency-Until", "Idempotency-Conflict", "Prefer")


def test_the_application_describes_the_routes_with_their_headers_and_problems() -> None:
    app = FastAPI()
    app.include_router(trigger_router(["train"], api_keys=KEY, header="Our-Key"), prefix="/ml")
    described = app.openapi()
    post = described["paths"]["/ml/templates/{template}/runs"]["post"]
    assert {one["name"] for one in post["parameters"]} == {"template", *_HEADER_NAMES}
    assert set(post["responses"]) == {"200", "202", "401", "404", "409", "422", "429", "503"}
    assert list(post["responses"]["422"]["content"]) == ["application/problem+json"]
    assert described["components"]["securitySchemes"]["APIKeyHeader"]["name"] == "Our-Key"


def test_without_keys_of_its_own_it_promises_none() -> None:
    app = FastAPI()
    app.include_router(trigger_router(["train"], api_keys=None))
    described = app.openapi()
    assert "securitySchemes" not in described["components"]
    assert "401" not in described["paths"]["/runs/{run_id}"]["get"]["responses"]


def test_several_routers_with_keys_of_their_own_live_in_one_application() -> None:
    app = FastAPI()
    for prefix in ("/a", "/b"):
        app.include_router(trigger_router(["train"], api_keys=KEY + prefix), prefix=prefix)
    assert {"/a/templates", "/b/templates"} <= set(app.openapi()["paths"])


def test_mistakes_are_told_when_the_application_starts() -> None:
    with pytest.raises(InvalidInput, match="write \\['train'\\]"):
        trigger_router("train", api_keys=KEY)
    with pytest.raises(InvalidInput, match="16 characters"):
        trigger_router(["train"], api_keys="secret")


def test_it_loads_neither_the_server_nor_the_database() -> None:
    script = "import sys, penstock.fastapi; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {name for name in loaded if name.startswith(("penstock.server", "penstock.control", "penstock.store"))}
    assert "sqlalchemy" not in loaded
