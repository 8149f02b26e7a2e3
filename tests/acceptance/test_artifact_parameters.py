"""Parameters that JSON cannot give: from outside as references to artifacts, in code as the values themselves."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from penstock import save_artifact
from penstock.errors import InvalidInput
from tests.acceptance.conftest import PIPELINES
from tests.acceptance.pipelines.goods import Plain, framed
from tests.acceptance.site_under_test import Site

ONE = pd.DataFrame({"a": [1], "b": [2]})
TWO = pd.DataFrame({"a": [1, 2]})


@pytest.fixture(scope="module")
def market(site: Site) -> Site:
    for name in ("framed", "trusting"):
        site.template(f"{PIPELINES / 'goods.py'}:{name}", name)
    return site


@pytest.fixture
def here(market: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Code in this process talks to the site."""
    for name, value in market.environment.items():
        monkeypatch.setenv(name, value)
    return market


def test_the_schema_says_that_an_artifact_is_wanted(market: Site) -> None:
    properties = market.get("/run_templates/framed")["parameter_schema"]["properties"]
    assert properties["frame"]["format"] == "artifact-reference"
    assert properties["frame"]["x-penstock-type"] == "pandas.DataFrame"
    assert properties["other"]["default"] is None


def test_a_name_a_version_or_an_id_is_frozen_with_the_run(here: Site) -> None:
    first, second = save_artifact(ONE, "table"), save_artifact(TWO, "table")
    for given, meant in (
        ("artifact:table", second),
        ("table", second),
        (f"table@{first.version}", first),
        (f"artifact:table@{first.version}", first),
        (first.id, first),
        (f"artifact:{first.id}", first),
    ):
        run = here.ended(here.trigger("framed", {"frame": given, "other": second.id})["id"])
        assert run["state"] == "completed", run["error"]
        assert run["outputs"] == {
            "rows": 1 if meant is first else 2,
            "columns": ["a", "b"] if meant is first else ["a"],
            "more": 2,
        }
        assert run["parameters"] == {"frame": f"artifact:{meant.id}", "other": f"artifact:{second.id}"}
    steps = here.get(f"/runs/{run['id']}/steps")["items"]
    assert [one["upstream"] for one in steps] == [[], [], []]
    assert sorted(one["inputs"]["frame"] for one in steps) == sorted([first.id, first.id, second.id])
    used = here.get(f"/artifacts/{first.id}/lineage")["used"]
    assert ("parameter", "frame", "") in [(one["kind"], one["name"], one["step"]) for one in used]


def test_what_is_not_there_is_refused_at_the_door(here: Site) -> None:
    save_artifact(ONE, "sheet")
    parameters = {"frame": "artifact:shete", "other": "sheet@77"}
    answer = here.api.post("/run_templates/framed/runs", json={"parameters": parameters})
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert [one["pointer"] for one in problem["errors"]] == ["/parameters/frame", "/parameters/other"]
    assert problem["errors"][0]["did_you_mean"] == "sheet"
    answer = here.api.post("/run_templates/framed/runs", json={"parameters": {"frame": 3}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/parameters/frame")
    answer = here.api.post("/run_templates/framed/runs", json={"parameters": {}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/parameters/frame")


def test_code_calls_the_pipeline_with_the_value_itself(here: Site) -> None:
    run = framed(frame=ONE)
    assert run.outputs == {"rows": 1, "columns": ["a", "b"], "more": 0}
    kept: Any = here.get(f"/artifacts/{run.parameters['frame'].removeprefix('artifact:')}")
    assert (kept["type"], kept["name"]) == ("pandas.DataFrame", None)
    again = here.api.post("/run_templates/framed/runs", json={"parameters": dict(run.parameters)}).json()
    assert here.ended(again["id"])["outputs"] == run.outputs
    with pytest.raises(InvalidInput, match="not there"):
        framed(frame="artifact:nothing-of-the-kind")


def test_a_pickled_value_of_another_run_is_not_trusted(here: Site) -> None:
    thing = save_artifact(Plain(4), "thing")
    run = here.ended(here.trigger("trusting", {"thing": thing.id})["id"])
    assert run["state"] == "failed"
    assert "PENSTOCK_ALLOW_PICKLE" in run["error"]["message"]
