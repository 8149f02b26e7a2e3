"""What a release says of a template that is in use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from penstock.model.requirements import Requirements
from penstock.model.snapshot import FORMAT, Content, Environment, Snapshot
from penstock.model.terms import Terms
from penstock.model.upgrade import findings

CONTENT = Content(
    pipeline="p",
    source="m:p",
    code="c" * 64,
    parameter_schema={"type": "object", "properties": {"rate": {"type": "number", "default": 1}}},
    environment=Environment(python="3.11.7", executable="/opt/python"),
)


def severities(terms: Terms | None = None, *, python: str = "3.11.9", here: bool = True, **changes: Any) -> list[str]:
    snapshot = Snapshot(id="s", pipeline_id="p", content=replace(CONTENT, **changes), created=datetime.now(UTC))
    found = findings(snapshot, terms or Terms(), python=python, has_code=True, has_executable=here)
    return [one.severity for one in found]


def test_what_runs_needs_no_words() -> None:
    assert severities() == []
    assert severities(here=False) == []  # another patch of the same Python
    assert severities(python="3.13.0") == []  # its own Python is still here


def test_another_python_needs_attention() -> None:
    assert severities(python="3.13.0", here=False) == ["attention"]
    said = replace(CONTENT.environment, requires=Requirements(python=">=3.12"))
    assert severities(python="3.13.0", here=False, environment=said) == []  # one that does is found or built


def test_what_cannot_run_is_broken() -> None:
    assert severities(format=FORMAT + 1) == ["broken"]
    assert severities(code=None) == ["broken"]
    assert severities(Terms(locked={"gone": 1})) == ["broken"]
