"""Parameters of every type mean the same from outside, from the command line and in code, or are refused at the door."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.pipelines.parameters import AWKWARD, Color, Model, Point, Size, typed
from tests.acceptance.site_under_test import Site

# For each parameter: as JSON, as the value in Python, and what the step tells of it.
VALUES: dict[str, tuple[Any, Any, str]] = {
    "whole": (2**53 + 1, 2**53 + 1, "int 9007199254740993"),
    "real": (3, 3, "float 3.0"),
    "flag": (True, True, "bool True"),
    "text": ("12", "12", "str '12'"),
    "maybe": (None, None, "NoneType None"),
    "old": ("null", "null", "str 'null'"),
    "items": ([1, 2], [1, 2], "list [1, 2]"),
    "table": ({"a": 1.5}, {"a": 1.5}, "dict {'a': 1.5}"),
    "nested": ({"p": [{"x": 1}]}, {"p": [Point(1)]}, "dict {'p': [Point(x=1, y=0.5)]}"),
    "pair": ([1, "b"], (1, "b"), "tuple (1, 'b')"),
    "many": ([3, 2, 1], (3, 2, 1), "tuple (3, 2, 1)"),
    "unique": ([7], {7}, "set {7}"),
    "moment": (
        "2024-02-29T12:30:00+02:00",
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        "datetime 2024-02-29 12:30:00+02:00",
    ),
    "day": ("2024-02-29", datetime.date(2024, 2, 29), "date datetime.date(2024, 2, 29)"),
    "span": ("PT1M30S", datetime.timedelta(seconds=90), "timedelta datetime.timedelta(seconds=90)"),
    "key": (str(UUID(int=5)), UUID(int=5), f"UUID {UUID(int=5)!r}"),
    "path": ("data/in.csv", Path("data/in.csv"), f"{type(Path()).__name__} {Path('data/in.csv')!r}"),
    "price": ("1.25", Decimal("1.25"), "Decimal Decimal('1.25')"),
    "color": ("blue", Color.BLUE, "Color <Color.BLUE: 'blue'>"),
    "level": ("high", "high", "str 'high'"),
    "point": ({"x": 2, "y": 3}, Point(2, 3.0), "Point Point(x=2, y=3.0)"),
    "model": (
        {"name": "m", "at": {"x": 1}, "since": "2024-01-01"},
        Model(name="m", at=Point(1), since=datetime.date(2024, 1, 1)),
        "Model Model(name='m', at=Point(x=1, y=0.5), since=datetime.date(2024, 1, 1))",
    ),
    "size": ({"width": 4, "unit": "cm"}, Size(width=4, unit="cm"), "dict {'width': 4, 'unit': 'cm'}"),
    "bounded": (9, 9, "int 9"),
}
AS_JSON = {name: value for name, (value, _, _) in VALUES.items()}
TOLD = {name: told for name, (_, _, told) in VALUES.items()}


@pytest.fixture(scope="module")
def desk(site: Site) -> Site:
    for name in ("typed", "echo", "kept", "large", "door"):
        site.template(f"{PIPELINES / 'parameters.py'}:{name}", name)
    return site


def outputs(desk: Site, template: str, parameters: dict[str, Any]) -> Any:
    """What a run that was triggered over REST gives."""
    run = desk.ended(desk.trigger(template, parameters)["id"])
    assert run["state"] == "completed", run["error"]
    return run["outputs"]


def test_over_rest_the_step_sees_the_type_that_it_asked_for(desk: Site) -> None:
    assert outputs(desk, "typed", AS_JSON) == {"output": TOLD}


def test_on_the_command_line_the_step_sees_the_same(desk: Site) -> None:
    words: list[str] = []
    for name, value in AS_JSON.items():
        words += ["-p", f"{name}={value if isinstance(value, str) and name != 'old' else json.dumps(value)}"]
    run = json.loads(desk.penstock("run-template", "run", "typed", *words, "--output", "json").stdout)
    assert run["outputs"]["output"] == TOLD


def test_called_in_code_with_values_of_python_the_step_sees_the_same(
    desk: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    run = typed(**{name: value for name, (_, value, _) in VALUES.items()})
    assert run.outputs == {"output": TOLD}
    assert outputs(desk, "typed", dict(run.parameters)) == {"output": TOLD}
    with pytest.raises(InvalidInput, match="bounded"):
        typed(**{**AS_JSON, "bounded": 10})


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(
    deadline=None,
    print_blob=True,
    derandomize=False,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(trees=st.lists(TREES, min_size=1, max_size=8))
def test_any_tree_of_json_comes_back_as_it_was_given(desk: Site, trees: list[Any]) -> None:
    run = desk.ended(desk.trigger("echo", {"tree": trees})["id"])
    assert run["state"] == "completed", run["error"]
    found, told = run["outputs"], json.dumps(trees, sort_keys=True)
    # As text: 1, 1.0 and True are equal, and so are 0.0 and -0.0.
    assert json.dumps(run["parameters"]["tree"], sort_keys=True) == told
    assert json.dumps(found["tree"], sort_keys=True) == told
    assert found["count"] == len(trees)


def test_a_default_of_awkward_values_is_frozen_as_it_is(desk: Site) -> None:
    schema = desk.get("/run_templates/kept")["parameter_schema"]
    assert json.dumps(schema["properties"]["tree"]["default"], sort_keys=True) == json.dumps(AWKWARD, sort_keys=True)
    assert json.dumps(outputs(desk, "kept", {})["output"], sort_keys=True) == json.dumps(AWKWARD, sort_keys=True)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**64, 10**40])
def test_an_integer_may_have_any_number_of_digits(desk: Site, number: int) -> None:
    assert outputs(desk, "large", {"whole": number}) == {"output": str(number)}


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")], ids=["lists", "mappings"])
def test_what_is_nested_as_deep_as_the_door_allows_goes_through(desk: Site, opened: str, closed: str) -> None:
    tree = json.loads(opened * 199 + "[1]" + closed * 199)
    assert outputs(desk, "echo", {"tree": tree}) == {"tree": tree, "count": 1}


DEEP = "[" * 900 + "]" * 900

REFUSED = {
    "a huge float for an integer": ('{"whole": 1e300}', "/parameters/whole"),
    "a fraction for an integer": ('{"whole": 1.5}', "/parameters/whole"),
    "a text for an integer": ('{"whole": "1"}', "/parameters/whole"),
    "a truth value for an integer": ('{"whole": true}', "/parameters/whole"),
    "nothing for an integer": ('{"whole": null}', "/parameters/whole"),
    "a list for a number": ('{"whole": 1, "real": []}', "/parameters/real"),
    "the text NaN for a number": ('{"whole": 1, "real": "NaN"}', "/parameters/real"),
    "less than the bound": ('{"whole": 1, "bounded": 0}', "/parameters/bounded"),
    "nothing where a value is needed": ("{}", "/parameters/whole"),
    "a name that is not there": ('{"whole": 1, "boundet": 2}', "/parameters/boundet"),
    "arrays without end": (f'{{"whole": 1, "items": {DEEP}}}', "/parameters/items"),
}


def refused(desk: Site, body: str) -> tuple[int, dict[str, Any]]:
    """The answer to a body that starts nothing."""
    before = desk.get("/runs")["total"]
    headers = {"Content-Type": "application/json"}
    answer = desk.api.post("/run_templates/door/runs", content=body.encode(), headers=headers)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert desk.get("/runs")["total"] == before
    return answer.status_code, answer.json()


@pytest.mark.parametrize(("parameters", "pointer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_at_the_door(desk: Site, parameters: str, pointer: str) -> None:
    status, problem = refused(desk, f'{{"parameters": {parameters}}}')
    assert (status, [one["pointer"] for one in problem["errors"]]) == (422, [pointer]), problem


def test_a_name_that_is_nearly_right_is_told(desk: Site) -> None:
    _, problem = refused(desk, '{"parameters": {"whole": 1, "boundet": 2}}')
    assert problem["errors"][0]["did_you_mean"] == "bounded"


@pytest.mark.parametrize("text", ["whole=1", "{'parameters': {}}", '{"parameters": {"whole": NaN}}', "", "[" * 100_000])
def test_a_body_that_is_no_json_is_refused(desk: Site, text: str) -> None:
    status, problem = refused(desk, text)
    assert (status, problem["status"]) in ((400, 400), (422, 422)), problem


GUARDED = """
from penstock import pipeline, step

@step
def one() -> int:
    return 1

if __name__ == "__main__":

    @pipeline
    def hidden() -> int:
        return one()

    hidden.create_run_template("hidden")
"""


def test_a_pipeline_that_only_the_script_has_cannot_be_frozen(desk: Site, tmp_path: Path) -> None:
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    done = subprocess.run(
        [sys.executable, str(script)], env=desk.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "Move it above" in done.stderr
    assert desk.api.get("/run_templates/hidden").status_code == 404
    told = desk.penstock("pipeline", "create-run-template", f"{script}:hidden", "--name", "hidden", status=2).stderr
    assert "Move it above" in told
