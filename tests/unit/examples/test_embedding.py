from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "embedding" / "app.py"
KEY = "a key of an example"


def test_the_application_has_its_own_routes_and_those_for_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_API_KEY", KEY)
    described: dict[str, Any] = runpy.run_path(str(EXAMPLE))["app"].openapi()
    assert set(described["paths"]) == {
        "/",
        "/pipelines/templates",
        "/pipelines/templates/{template}",
        "/pipelines/templates/{template}/schema",
        "/pipelines/templates/{template}/runs",
        "/pipelines/runs/{run_id}",
    }
    assert described["components"]["securitySchemes"] == {
        "APIKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    }


def test_it_does_not_start_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_API_KEY", raising=False)
    with pytest.raises(KeyError):
        runpy.run_path(str(EXAMPLE))
