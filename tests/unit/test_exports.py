from __future__ import annotations

import subprocess
import sys

import pytest

import penstock

PUBLIC = [
    "HTML",
    "ArtifactConfig",
    "CachePolicy",
    "Client",
    "DockerSettings",
    "IdempotencyKey",
    "Markdown",
    "PipelineRunConfiguration",
    "ResourceSettings",
    "Run",
    "StepConfiguration",
    "StepRetryConfig",
    "UnmaterializedArtifact",
    "__version__",
    "add_tags",
    "get_step_context",
    "load_artifact",
    "log_metadata",
    "pipeline",
    "remove_tags",
    "save_artifact",
    "step",
    "unmapped",
]

# What a process that only declares a pipeline must not pay for. Each of these was seen in such an import elsewhere.
HEAVY = [
    "alembic",
    "asyncio",
    "concurrent",
    "dataclasses",
    "fastapi",
    "fsspec",
    "http",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "msgspec",
    "pydantic",
    "rich",
    "socket",
    "sqlalchemy",
    "ssl",
    "subprocess",
    "tempfile",
    "typer",
    "urllib",
    "yaml",
]


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`, without those that it starts with."""
    script = f"import sys; before = set(sys.modules); exec({code!r}); print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_public_names_are_these() -> None:
    assert penstock.__all__ == PUBLIC  # the linter keeps their order


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(penstock, name) is not None
    assert name in dir(penstock)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'penstock' has no attribute 'pipelin'"):
        _ = penstock.pipelin  # type: ignore[attr-defined]


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from penstock import *", names)
    assert set(PUBLIC) <= set(names)


def test_importing_penstock_loads_nothing_of_ours_but_the_version() -> None:
    assert {name for name in loaded_by("import penstock") if name.startswith("penstock")} == {
        "penstock",
        "penstock.version",
    }


def test_declaring_a_pipeline_loads_nothing_heavy() -> None:
    code = "from penstock import pipeline, step\n@step\ndef one() -> int: return 1\n@pipeline\ndef p(): return one()"
    loaded = loaded_by(code)
    assert "penstock.author.pipeline" in loaded
    assert sorted(loaded & set(HEAVY)) == []
