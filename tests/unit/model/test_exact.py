"""What comes in a request is taken as it is, or refused with its place: in every number and truth value of every record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from penstock.errors import InvalidInput, pointer
from penstock.model import reading
from penstock.model.configuration import PipelineRunConfiguration
from penstock.model.exact import Exact
from penstock.model.terms import Terms
from penstock.server.routes.bulk import ReplayMany
from penstock.server.routes.pipeline_snapshots import SnapshotRun
from penstock.server.routes.run_templates import TemplateRun
from penstock.server.routes.runs import PlanRun, ReplayRun, StartRun

BODIES: tuple[type[Any], ...] = (
    PipelineRunConfiguration,
    Terms,
    StartRun,
    PlanRun,
    ReplayRun,
    TemplateRun,
    SnapshotRun,
    ReplayMany,
)
WRONG: dict[type[Any], tuple[Any, ...]] = {int: ("1", True), float: ("1.5", False), bool: ("yes", "true", 1, 0.0)}
"""Kind -> what pydantic takes for it by itself."""

Path = tuple[str | int, ...]


def places(kind: Any, at: Path = ()) -> Iterator[tuple[Path, type[Any]]]:
    """Every place of a number or truth value in a record, and in the records in it, which may be in maps and lists."""
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        parts = {one for one in (hint, *get_args(hint)) if one is not type(None)}
        if parts & {int, float, bool} and str not in parts:
            yield (*at, field.name), next(one for one in (int, float, bool) if one in parts)
        within = {dict: ("x",), tuple: (0,)}.get(get_origin(hint), ())
        for one in filter(is_dataclass, parts):
            yield from places(one, (*at, field.name, *within))


def document(path: Path, value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = [value] if part == 0 else {part: value}
    found: dict[str, Any] = value
    return found


ALL = [(body, path, kind) for body in BODIES for path, kind in places(body)]


def test_there_are_many_of_them_and_each_body_is_such_a_record() -> None:
    assert len(ALL) > 100
    assert all(issubclass(body, Exact) for body in BODIES)


@pytest.mark.parametrize("body", BODIES)
def test_what_only_looks_like_a_number_or_a_truth_value_is_refused_with_its_place(body: type[Any]) -> None:
    adapter = TypeAdapter(body)
    for path, kind in places(body):
        for value in WRONG[kind]:
            with pytest.raises(ValidationError) as caught:
                adapter.validate_python(document(path, value))
            assert path in [error["loc"] for error in caught.value.errors()], (path, value, caught.value.errors())


@pytest.mark.parametrize("body", [PipelineRunConfiguration, Terms])
def test_files_and_code_are_read_as_strictly(body: type[Any]) -> None:
    for path, kind in places(body):
        for value in WRONG[kind]:
            with pytest.raises(InvalidInput) as caught:
                reading.read(body, document(path, value), what="It")
            assert pointer(*path) in [one["pointer"] for one in caught.value.errors], (path, value)


def test_what_fits_is_taken() -> None:
    given = {"enable_cache": False, "timeout": 5, "retry": {"max_retries": 2, "delay": 1}, "parameters": {"n": "1"}}
    made = TypeAdapter(PipelineRunConfiguration).validate_python(given)
    assert (made.enable_cache, made.timeout, made.retry.max_retries, made.parameters) == (False, 5, 2, {"n": "1"})


def test_the_description_stays_the_same() -> None:
    described = TypeAdapter(StartRun).json_schema()
    assert described["properties"]["claim"]["type"] == "boolean"
    assert described["$defs"]["StepRetryConfig"]["properties"]["max_retries"] == {
        "default": 1,
        "title": "Max Retries",
        "type": "integer",
    }
